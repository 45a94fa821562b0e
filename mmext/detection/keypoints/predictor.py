"""The convolutions in front of each output of the corner detectors, and the loss of heat maps."""

from mmcv.cnn import ConvModule
from torch import Tensor, nn

# A heat of .1 from the start. The official code rounds log(.1 / .9).
HEAT_BIAS = -2.19
# What the official code adds to every divisor that counts objects.
COUNT_EPS = 1e-4
# Probabilities are kept this far from 0 and 1 before their logarithm is taken.
_CLAMP = 1e-4


def predictor(in_channels: int, feat_channels: int, out_channels: int) -> nn.Sequential:
    """Build the two convolutions, without norm, in front of each output.

    Args:
        in_channels (int): Channels of the feature map.
        feat_channels (int): Channels between the two.
        out_channels (int): Channels of the output.

    Returns:
        nn.Sequential: From (B, in_channels, H, W) to (B, out_channels, H, W).
    """
    return nn.Sequential(
        ConvModule(in_channels, feat_channels, 3, padding=1),
        nn.Conv2d(feat_channels, out_channels, 1),
    )


def heat_loss(loss: nn.Module, logits: Tensor, heat: Tensor, num_peaks: Tensor) -> Tensor:
    """Focal loss of CornerNet (arXiv 1808.01244, eq. 1).

    Args:
        loss (nn.Module): ``mmdet.GaussianFocalLoss`` or a loss with its arguments.
        logits (Tensor): Logits of any shape.
        heat (Tensor): Targets of that shape, 1 at the peaks.
        num_peaks (Tensor): Scalar by which the loss is divided; by one if it is less.

    Returns:
        Tensor: Scalar.
    """
    prob = logits.float().sigmoid().clamp(_CLAMP, 1 - _CLAMP)
    return loss(prob, heat, avg_factor=num_peaks.clamp(min=1))
