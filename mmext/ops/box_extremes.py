"""Extremes of boxes, by which losses tell in one pass whether these are in order."""

from typing import NamedTuple

import torch
from torch import Tensor

from . import _extension


class BoxExtremes(NamedTuple):
    """What was found in the rows that count.

    Attributes:
        total: Finite if (though, of very large boxes, not only if) every entry is.
        pred_side: The shortest predicted side, infinite without rows.
        target_side: The shortest side of a target, infinite without rows.
        pred_angle: The largest angle of a prediction, 0 of boxes that have none.
        target_angle: The largest angle of a target.
    """

    total: float
    pred_side: float
    target_side: float
    pred_angle: float
    target_angle: float


def box_extremes(pred: Tensor, target: Tensor, weight: Tensor | None = None) -> BoxExtremes:
    """Look for what decides whether boxes are in order, in one read from the device.

    Args:
        pred: (N, 5) boxes x, y, w, h, angle or (N, 4) boxes x1, y1, x2, y2, float32 or float64.
        target: Boxes of the same shape, dtype and device.
        weight: (N,), of the same dtype and device; rows of weight 0 do not count. None for ones.

    Returns:
        Numbers without a gradient. Where an entry is NaN only ``total`` says something.
    """
    with torch.no_grad():
        if _extension.LOADED and pred.device.type == "cpu":
            extremes = torch.ops.mmext._box_extremes(pred, target, weight)
        else:
            extremes = _box_extremes(pred, target, weight)
    return BoxExtremes(*extremes.tolist())


def _box_extremes(pred: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Return the extremes as a tensor, by plain torch."""
    if weight is not None:
        rows = weight.nonzero().squeeze(1)
        if len(rows) < len(pred):
            pred, target = pred[rows], target[rows]
    if pred.shape[0] == 0:
        return pred.new_tensor([0, torch.inf, torch.inf, 0, 0])
    # min() of whole columns, since amin() and reductions of rows are several times slower.
    shortest = [
        torch.minimum(*(side.min() for side in sides_of(boxes).unbind(1)))
        for boxes in (pred, target)
    ]
    largest = [
        boxes[:, 4].abs().max() if boxes.shape[1] == 5 else boxes.new_zeros(())
        for boxes in (pred, target)
    ]
    return torch.stack([pred.sum() + target.sum(), *shortest, *largest])


def sides_of(boxes: Tensor) -> Tensor:
    """Return the (N, 2) widths and heights of (N, 5) or (N, 4) boxes."""
    return boxes[:, 2:4] if boxes.shape[1] == 5 else boxes[:, 2:] - boxes[:, :2]


def _fake(pred: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    return pred.new_empty(5)


if _extension.LOADED:
    torch.library.register_fake("mmext::_box_extremes", _fake)
