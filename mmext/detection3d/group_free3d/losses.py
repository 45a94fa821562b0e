"""Losses of Group-Free-3D (arXiv 2104.00678, section 3.4)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from mmext.registry import MODELS

from .prediction import Stage
from .targets import Targets


def sigmoid_focal_loss(
    logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Return the focal loss of each element.

    Args:
        logits: Any shape.
        targets: As ``logits``, booleans or 0 and 1.
        alpha: Weight of the positive ones; the others have 1 - alpha.
        gamma: How much less those count that are right already.

    Returns:
        As ``logits``.

    Source: Focal Loss for Dense Object Detection (arXiv 1708.02002), equation 5.
    """
    targets = targets.to(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    wrong = (targets - logits.sigmoid()).abs()
    return (alpha * targets + (1 - alpha) * (1 - targets)) * wrong**gamma * entropy


def _mean_of_positives(values: Tensor, positive: Tensor) -> Tensor:
    """Return the mean of (B, O) values over the positive candidates of the batch, 0 of none."""
    # The official code adds this in single precision, so that it vanishes beside 32 or more.
    count = positive.sum(dtype=torch.float32) + 1e-6
    return (values * positive).sum() / count


def _cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Return (B, O) cross entropies of (B, O, K) logits."""
    return functional.cross_entropy(scores.transpose(1, 2), labels, reduction="none")


def _smooth_l1(pred: Tensor, target: Tensor, delta: float) -> Tensor:
    """Return smooth L1 of each element: quadratic below ``delta``, with slope 1 above."""
    return functional.smooth_l1_loss(pred, target, reduction="none", beta=delta)


def stage_losses(
    stage: Stage,
    targets: Targets,
    *,
    center_delta: float,
    size_delta: float,
    heading_delta: float,
) -> dict[str, Tensor]:
    """Return the losses of one stage, without weights.

    Args:
        stage: Its predictions.
        targets: Of the candidates.
        center_delta: Where smooth L1 of centres turns linear, in metres.
        size_delta: Likewise for sizes, in units of the mean sizes, or in metres if sizes have no
            class.
        heading_delta: Likewise for headings, in units of half a bin.

    Returns:
        ``objectness``, a mean over candidates, and means over positive ones: ``center``,
        ``heading_class``, ``heading_residual``, ``size_residual``, ``semantic``, and
        ``size_class`` if sizes have one.
    """
    bins, labels = targets.heading_bin[..., None], targets.labels
    heading = stage.heading_residuals.gather(-1, bins)[..., 0]
    losses = dict(
        center=_smooth_l1(stage.center, targets.center, center_delta).sum(-1),
        heading_class=_cross_entropy(stage.heading_scores, targets.heading_bin),
        heading_residual=heading_delta
        * _smooth_l1(heading, targets.heading_residual, heading_delta),
        semantic=_cross_entropy(stage.semantic, labels),
    )
    if stage.size_scores is None:
        size, size_target = stage.size, targets.size
    else:
        index = labels[..., None, None].expand(*labels.shape, 1, 3)
        size, size_target = stage.size_residuals.gather(2, index)[:, :, 0], targets.size_residual
        losses["size_class"] = _cross_entropy(stage.size_scores, labels)
    losses["size_residual"] = size_delta * _smooth_l1(size, size_target, size_delta).sum(-1)
    losses = {name: _mean_of_positives(x, targets.positive) for name, x in losses.items()}
    losses["objectness"] = sigmoid_focal_loss(stage.objectness, targets.positive).mean()
    return losses


@MODELS.register_module()
class GroupFree3DLoss(nn.Module):
    """All losses, weighted so that they add up to the official total.

    The defaults are those of ScanNet; SUN RGB-D has ``seed_weight=0.2``, ``objectness_weight=0.4``,
    ``center_delta=1/9``, ``size_delta=0.0625`` and ``heading_delta=0.04``.

    Args:
        seed_weight: Weight of the seeds' scores.
        objectness_weight: Weight of objectness.
        box_weight: Weight of centres, headings and sizes; their classes weigh a tenth of it.
        semantic_weight: Weight of classes.
        center_delta: See :func:`stage_losses`.
        size_delta: See :func:`stage_losses`.
        heading_delta: See :func:`stage_losses`.
        loss_weight: Factor on everything.
    """

    def __init__(
        self,
        *,
        seed_weight: float = 0.8,
        objectness_weight: float = 0.1,
        box_weight: float = 1.0,
        semantic_weight: float = 0.1,
        center_delta: float = 0.04,
        size_delta: float = 1 / 9,
        heading_delta: float = 1.0,
        loss_weight: float = 10.0,
    ) -> None:
        super().__init__()
        self.deltas = dict(
            center_delta=center_delta, size_delta=size_delta, heading_delta=heading_delta
        )
        self.seed_weight = loss_weight * seed_weight
        self.weights = dict(
            objectness=loss_weight * objectness_weight,
            center=loss_weight * box_weight,
            heading_class=0.1 * loss_weight * box_weight,
            heading_residual=loss_weight * box_weight,
            size_class=0.1 * loss_weight * box_weight,
            size_residual=loss_weight * box_weight,
            semantic=loss_weight * semantic_weight,
        )

    def forward(
        self,
        stages: Sequence[Stage],
        targets: Targets,
        seed_logits: Tensor | None = None,
        seed_positive: Tensor | None = None,
    ) -> dict[str, Tensor | list[Tensor]]:
        """Compute the losses.

        Args:
            stages: Predictions of all stages.
            targets: Of the candidates, the same for all stages.
            seed_logits: (B, S); None where candidates are not chosen by scores.
            seed_positive: (B, S), see :func:`mmext.detection3d.group_free3d.targets.seed_targets`.

        Returns:
            Weighted losses by name, of the stages one each.
        """
        losses: dict[str, Tensor | list[Tensor]] = {}
        if seed_logits is not None:
            focal = sigmoid_focal_loss(seed_logits, seed_positive).mean()
            losses["loss_seeds"] = self.seed_weight * focal
        for stage in stages:
            for name, value in stage_losses(stage, targets, **self.deltas).items():
                weighted = self.weights[name] / len(stages) * value
                losses.setdefault(f"loss_{name}", []).append(weighted)
        return losses
