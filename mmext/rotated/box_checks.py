"""What a box regression loss is given: made uniform, mended, or refused."""

import math
from typing import Any, NoReturn

import torch
from mmdet.structures.bbox import get_box_tensor
from torch import Tensor

from mmext.ops.box_extremes import BoxExtremes, box_extremes, sides_of

# No convention has target angles beyond a turn, so what lies there is degrees. A predicted angle
# may wander, since the losses are periodic in it, but not for many turns.
_MAX_TARGET_ANGLE = 2 * math.pi + 1e-3
_MAX_PRED_ANGLE = 20 * math.pi

# What a predicted side of zero or less is raised to, as part of the shorter side of its target.
_LEAST_SIDE = 0.01


def as_box_pair(pred: Any, target: Any, name: str) -> tuple[Tensor, Tensor]:
    """Return two lists of boxes as tensors of one dtype, of single precision at least.

    Args:
        pred: (N, 5) or (N, 4) tensor, or one of mmdet's box types.
        target: The same.
        name: Of the loss, for messages.

    Returns:
        Two tensors, float64 if one of the two was, else float32.

    Raises:
        ValueError: The shapes do not fit.
    """
    pred, target = get_box_tensor(pred), get_box_tensor(target)
    if pred.dim() != 2 or pred.shape[-1] not in (4, 5):
        raise ValueError(
            f"{name}: pred must be (N, 5) boxes x, y, w, h, angle or (N, 4) boxes x1, y1, x2, y2, "
            f"got {tuple(pred.shape)}."
        )
    if pred.shape != target.shape:
        raise ValueError(
            f"{name}: pred and target must have the same shape, got {tuple(pred.shape)} and "
            f"{tuple(target.shape)}."
        )
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    return pred.to(dtype), target.to(dtype)


def row_weights(weight: Tensor, boxes: Tensor, name: str) -> Tensor:
    """Return one factor per box.

    Args:
        weight: (N,) factors, or (N, D) as mmdet's anchor heads make them; then the mean of the D
            counts.
        boxes: (N, D) boxes.
        name: Of the loss, for messages.

    Returns:
        (N,), dtype of ``boxes``.

    Raises:
        ValueError: The shape is neither.
    """
    if weight.shape not in (boxes.shape[:1], boxes.shape):
        raise ValueError(
            f"{name}: weight must have the shape {tuple(boxes.shape[:1])} or "
            f"{tuple(boxes.shape)}, got {tuple(weight.shape)}."
        )
    weight = weight.to(boxes.dtype)
    if weight.dim() == 1:
        return weight
    # The sum as a product, which is several times faster than a mean of rows of five.
    with torch.autocast(weight.device.type, enabled=False):
        total = weight @ weight.new_ones(weight.shape[1])
    return total.div_(weight.shape[1])


def check_rows(
    pred: Tensor, target: Tensor, weight: Tensor | None, name: str, *, angles: bool = True
) -> bool:
    """Refuse boxes in rows that count, if no detector can have meant them.

    Only rows with a weight other than 0 are looked at.

    Args:
        pred: (N, 5) or (N, 4) boxes.
        target: Boxes of the same shape.
        weight: (N,) factors, or None if every row counts.
        name: Of the loss, for messages.
        angles: Whether the fifth column is an angle.

    Returns:
        Whether a prediction has a side of zero or less.

    Raises:
        ValueError: A box is not finite, a target has a side that is not above 0, as undecoded
            deltas have, or an angle is not in radians.
    """
    angles = angles and pred.shape[1] == 5
    extremes = box_extremes(pred, target, weight)
    if not _fits(extremes, angles):
        _explain_first(pred.detach(), target.detach(), weight, name, angles)
    return extremes.pred_side <= 0


def _fits(extremes: BoxExtremes, angles: bool) -> bool:
    """Tell whether every box is in order."""
    in_radians = not angles or (
        extremes.pred_angle <= _MAX_PRED_ANGLE and extremes.target_angle <= _MAX_TARGET_ANGLE
    )
    return math.isfinite(extremes.total) and extremes.target_side > 0 and in_radians


def raise_sides(pred: Tensor, target: Tensor) -> Tensor:
    """Give predictions without extent a small one, and keep their gradient.

    A side of zero or less is raised to 0.01 of the target's shorter side about the box's centre.
    The gradient is that of the raised box, and leads the side back up: nothing is cut off. Heads
    without an exponential predict such sides (FCOS with ``norm_on_bbox``, RTMDet with
    ``exp_on_reg=False``).

    Args:
        pred: (N, 5) or (N, 4) boxes.
        target: Boxes of the same shape.

    Returns:
        Boxes of the same shape.
    """
    box = pred.detach()
    least = _LEAST_SIDE * sides_of(target).amin(1, keepdim=True)
    flat = sides_of(box) <= 0
    if pred.shape[1] == 5:
        raised = least.expand(-1, 2)
        flat, raised = (
            torch.cat((outer, inner, outer[:, :1]), 1)
            for outer, inner in ((torch.zeros_like(flat), flat), (box[:, :2], raised))
        )
    else:
        centre = (box[:, :2] + box[:, 2:]) / 2
        raised = torch.cat((centre - least / 2, centre + least / 2), 1)
        flat = torch.cat((flat, flat), 1)
    # The values are those of `raised` exactly: a rounded one could have a negative side again.
    return torch.where(flat, raised + (pred - box), pred)


def _explain_first(
    pred: Tensor, target: Tensor, weight: Tensor | None, name: str, angles: bool
) -> None:
    """Raise the error that fits the first bad row that counts, if there is one."""
    bad = ~pred.isfinite().all(1) | ~target.isfinite().all(1) | (sides_of(target) <= 0).any(1)
    if angles:
        bad |= target[:, 4].abs() > _MAX_TARGET_ANGLE
        bad |= pred[:, 4].abs() > _MAX_PRED_ANGLE
    if weight is not None:
        bad &= weight != 0
    if bad.any():  # if not, the sum of all boxes was too large a number
        row = int(bad.nonzero()[0, 0])
        _explain(pred[row], target[row], row, name)


def _explain(pred: Tensor, target: Tensor, row: int, name: str) -> NoReturn:
    """Raise the error that fits the first bad row."""
    for what, box in (("prediction", pred), ("target", target)):
        if not box.isfinite().all():
            raise ValueError(f"{name}: the {what} in row {row} is not finite: {box.tolist()}.")
    sides = sides_of(target[None])
    if (sides < 0).any():
        raise ValueError(
            f"{name}: the target in row {row} has a negative side: {target.tolist()}. These look "
            "like regression deltas, not boxes: set reg_decoded_bbox=True in the head "
            "(model.bbox_head, or model.roi_head.bbox_head), or decode them."
        )
    if (sides == 0).any():
        raise ValueError(
            f"{name}: the target in row {row} has a side of 0: {target.tolist()}. Drop empty boxes "
            "with dict(type='mmdet.FilterAnnotations', min_gt_bbox_wh=(1, 1)) in the training "
            "pipeline, or, if these are regression deltas, set reg_decoded_bbox=True in the head."
        )
    what, box = ("prediction", pred) if pred[4].abs() > _MAX_PRED_ANGLE else ("target", target)
    raise ValueError(
        f"{name}: the angle of the {what} in row {row} is {box[4].item():g}, which looks like "
        "degrees. Angles are in radians, in any of the conventions oc, le90 and le135."
    )
