"""Losses of discriminators, and of networks that try to deceive them."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmext.registry import MODELS

AdversarialKind = Literal["bce", "lsgan"]


def adversarial_loss(scores: Tensor, label: float, kind: AdversarialKind = "bce") -> Tensor:
    """Return how far the scores of a discriminator are from a label, a mean over all of them.

    The discriminator learns with the label that is true. The network before it learns with the
    label of what it wants to be taken for.

    Args:
        scores: A discriminator's output of any shape, before any sigmoid.
        label: 0 or 1. In adaptation source is 0 and target 1; in image translation what is made up
            is 0 and what is real 1.
        kind: ``'bce'``, the binary cross entropy with the sigmoid of the scores, or ``'lsgan'``,
            the squared distance from the label.

    Returns:
        A scalar in float32.

    Raises:
        ValueError: ``kind`` is neither.

    Source: AdaptSegNet (arXiv 1802.10349), equations 2 and 3, and BDL (arXiv 1904.10620) use
    ``'bce'``; LSGAN (arXiv 1611.04076) with b - a = 1, c = b, without its factor 1/2, is CycleGAN's
    (arXiv 1703.10593) and that of AdaptSegNet's stronger variant.
    """
    scores = scores.float()
    target = torch.full_like(scores, label)
    if kind == "bce":
        return functional.binary_cross_entropy_with_logits(scores, target)
    if kind == "lsgan":
        return functional.mse_loss(scores, target)
    raise ValueError(f"kind of adversarial loss is {kind!r}, expected 'bce' or 'lsgan'")


@MODELS.register_module()
class AdversarialLoss(nn.Module):
    """Loss of a discriminator, or of what it judges, see :func:`adversarial_loss`.

    Args:
        kind: ``'bce'`` or ``'lsgan'``.
        loss_weight: Factor on the loss.
    """

    def __init__(self, kind: AdversarialKind = "bce", loss_weight: float = 1.0) -> None:
        super().__init__()
        adversarial_loss(torch.zeros(1), 0, kind)  # so that a wrong kind is told at once
        self.kind = kind
        self.loss_weight = loss_weight

    def forward(self, scores: Tensor, label: float) -> Tensor:
        """Return the weighted loss of scores of any shape for the label 0 or 1."""
        return self.loss_weight * adversarial_loss(scores, label, self.kind)
