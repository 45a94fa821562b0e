"""Losses of CenterNet++ that mmdet does not have."""

import torch
from mmdet.models.losses.utils import weighted_loss
from torch import Tensor, nn
from torch.nn import functional as F

from mmext.registry import MODELS


@weighted_loss
def plus_one_giou_loss(pred: Tensor, target: Tensor, eps: float = 1e-6) -> Tensor:
    """Generalised IoU loss in the old pixel convention, where a box is ``x2 - x1 + 1`` wide.

    ``1 - I / (U + eps) + (E - U) / (E + eps)`` with intersection I, union U and smallest enclosing
    box E. The loss depends on the scale of the boxes: CenterNet++ divides them by four strides.

    Args:
        pred (Tensor): (N, 4) boxes x1, y1, x2, y2.
        target (Tensor): (N, 4) boxes x1, y1, x2, y2.
        eps (float): Added to both denominators.

    Returns:
        Tensor: (N,) losses, 0 for equal boxes, below 2 for predictions that are not inverted, to
        which ``weight``, ``reduction`` and ``avg_factor`` of mmdet's ``weighted_loss`` apply.

    Source: the official code of CenterNet++ (arXiv 2204.08394); the paper's formula is plain GIoU.
    ``mmdet.GIoULoss``, which computes that, cannot take its place: nothing keeps the corners of a
    predicted quarter box in order, boxes start as points, and for inverted ones plain GIoU has no
    lower bound (on blood cells it fell to -60,000 within 40 steps). The 1 keeps small inversions
    within the range where the loss pulls them right; where it does not, the area of a box that is
    inverted in both directions counts as negative here. The official code has it positive, and
    could fall without bound too.
    """
    pred_wh = pred[:, 2:] - pred[:, :2] + 1
    # Inverted in both directions a box would have a positive area, and the loss no lower bound.
    pred_area = torch.where((pred_wh < 0).all(-1), -1, 1) * pred_wh.prod(-1)
    target_area = (target[:, 2:] - target[:, :2] + 1).prod(-1)
    overlap_wh = torch.min(pred[:, 2:], target[:, 2:]) - torch.max(pred[:, :2], target[:, :2]) + 1
    hull_wh = torch.max(pred[:, 2:], target[:, 2:]) - torch.min(pred[:, :2], target[:, :2]) + 1
    overlap = overlap_wh.clamp(min=0).prod(-1)
    hull = hull_wh.clamp(min=0).prod(-1)
    union = pred_area + target_area - overlap
    return 1 - overlap / (union + eps) + (hull - union) / (hull + eps)


@MODELS.register_module()
class PlusOneGIoULoss(nn.Module):
    """Module form of :func:`plus_one_giou_loss`, interchangeable with ``mmdet.GIoULoss``.

    Args:
        eps (float): Added to both denominators.
        loss_weight (float): Factor on the result.
    """

    def __init__(self, eps: float = 1e-6, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.eps = eps
        self.loss_weight = loss_weight

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
    ) -> Tensor:
        """Return the mean loss.

        Args:
            pred (Tensor): (N, 4) boxes x1, y1, x2, y2.
            target (Tensor): (N, 4) boxes x1, y1, x2, y2.
            weight (Tensor | None): (N,) factors.
            avg_factor (float | Tensor | None): Divisor of the sum, N if not given.

        Returns:
            Tensor: Scalar.
        """
        loss = plus_one_giou_loss(pred, target, weight, eps=self.eps, avg_factor=avg_factor)
        return self.loss_weight * loss


def separate_focal_loss(
    logits: Tensor,
    weight: Tensor,
    *,
    weight_sum: Tensor | None = None,
    num_pos: Tensor | None = None,
    gamma: float = 2.0,
    alpha: float = 0.25,
) -> Tensor:
    """Focal loss whose positives and negatives are averaged separately.

    ``sum_pos alpha (1-p)^gamma (-log p) w / sum_pos w`` plus
    ``sum_neg (1-alpha) p^gamma (-log(1-p)) / #pos``, with p the sigmoid of the logits. A cell is
    positive where its weight is above zero.

    The official code takes the logarithm of p, which is infinite once p saturates, and divides by
    zero when nothing is positive. Here it is a log-sigmoid, and both divisors are clamped (a batch
    without positives divides its negatives by one).

    Args:
        logits (Tensor): Any shape.
        weight (Tensor): Same shape, weights of the positives, 0 for negatives.
        weight_sum (Tensor | None): Divisor of the positives, the sum of ``weight`` if not given
            (to be given when several processes share a batch).
        num_pos (Tensor | None): Divisor of the negatives, the count of positives if not given.
        gamma (float): Focusing exponent.
        alpha (float): Factor on the positives, 1 - alpha on the negatives.

    Returns:
        Tensor: Scalar.
    """
    positive = weight > 0
    if weight_sum is None:
        weight_sum = weight.sum()
    if num_pos is None:
        num_pos = positive.sum()
    prob = logits.sigmoid()
    log_prob = F.logsigmoid(logits)
    log_rest = log_prob - logits  # log(1 - p)
    pos_loss = -alpha * (1 - prob).pow(gamma) * log_prob * weight
    neg_loss = -(1 - alpha) * prob.pow(gamma) * log_rest * ~positive
    tiny = torch.finfo(weight.dtype).tiny
    return pos_loss.sum() / weight_sum.clamp(min=tiny) + neg_loss.sum() / num_pos.clamp(min=1)


@MODELS.register_module()
class SeparateFocalLoss(nn.Module):
    """Module form of :func:`separate_focal_loss`, the loss of the box-semantic maps.

    Args:
        gamma (float): Focusing exponent.
        alpha (float): Factor on the positives, 1 - alpha on the negatives.
        loss_weight (float): Factor on the result.
    """

    def __init__(self, gamma: float = 2.0, alpha: float = 0.25, loss_weight: float = 0.1) -> None:
        super().__init__()
        self.gamma = gamma
        self.alpha = alpha
        self.loss_weight = loss_weight

    def forward(
        self,
        logits: Tensor,
        weight: Tensor,
        weight_sum: Tensor | None = None,
        num_pos: Tensor | None = None,
    ) -> Tensor:
        """Return the weighted loss, see :func:`separate_focal_loss` for the arguments."""
        return self.loss_weight * separate_focal_loss(
            logits,
            weight,
            weight_sum=weight_sum,
            num_pos=num_pos,
            gamma=self.gamma,
            alpha=self.alpha,
        )
