"""Losses between a restored image and its target, both (B, C, H, W) in [0, 1]."""

import torch
from torch import Tensor, nn

from mmext.registry import MODELS


def charbonnier_loss(pred: Tensor, target: Tensor, eps: float = 1e-3) -> Tensor:
    """Return the mean of ``sqrt(d**2 + eps**2)`` over all elements, a smooth L1.

    Args:
        pred: (B, C, H, W) restored images, not clamped.
        target: As ``pred``.
        eps: Where the loss turns from quadratic to linear. It is squared inside the root; some
            repositories write ``sqrt(d**2 + eps)`` with a squared value given.

    Returns:
        A scalar in float32.

    Source: Uformer (arXiv 2106.03106), section 3.1, with eps = 1e-3; its official code agrees.
    """
    difference = pred.float() - target.float()
    return (difference.square() + eps**2).sqrt().mean()


def psnr_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Return minus the peak signal-to-noise ratio in dB, a mean over images.

    Args:
        pred: (B, C, H, W) restored images, not clamped.
        target: As ``pred``.

    Returns:
        A scalar in float32. An image equal to its target counts -80 dB.

    Source: HINet (arXiv 2105.06086), section 3.4; NAFNet (arXiv 2204.04676) trains with it.
    """
    error = (pred.float() - target.float()).square().flatten(1).mean(1)
    return 10 * (error + 1e-8).log10().mean()


def frequency_loss(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of the Fourier coefficients' real and imaginary parts.

    Args:
        pred: (B, C, H, W) restored images, not clamped.
        target: As ``pred``.

    Returns:
        A scalar in float32. The transform is not normalised, so the value grows with the image:
        weight it with 0.1 or less beside a pixel loss.

    Source: MIMO-UNet (arXiv 2108.05054), equation 9, here at full resolution only.
    """
    difference = torch.fft.rfft2(pred.float() - target.float())
    return torch.view_as_real(difference).abs().mean()


class _WeightedLoss(nn.Module):
    """A loss times ``loss_weight``."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight


@MODELS.register_module()
class CharbonnierLoss(_WeightedLoss):
    """Charbonnier loss, see :func:`charbonnier_loss`.

    Args:
        eps: Where the loss turns from quadratic to linear.
        loss_weight: Factor on the loss.
    """

    def __init__(self, eps: float = 1e-3, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)
        self.eps = eps

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss of (B, C, H, W) images."""
        return self.loss_weight * charbonnier_loss(pred, target, self.eps)


@MODELS.register_module()
class PSNRLoss(_WeightedLoss):
    """Minus PSNR in dB, see :func:`psnr_loss`.

    Args:
        loss_weight: Factor on the loss.
    """

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss of (B, C, H, W) images."""
        return self.loss_weight * psnr_loss(pred, target)


@MODELS.register_module()
class FrequencyLoss(_WeightedLoss):
    """L1 loss in the frequency domain, see :func:`frequency_loss`.

    Args:
        loss_weight: Factor on the loss.
    """

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss of (B, C, H, W) images."""
        return self.loss_weight * frequency_loss(pred, target)
