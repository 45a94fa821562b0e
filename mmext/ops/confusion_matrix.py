"""Confusion matrix of two label maps, counted in one pass."""

import torch
from torch import Tensor

from . import _extension


def confusion_matrix(
    pred: Tensor, target: Tensor, num_classes: int, ignore_index: int = 255
) -> Tensor:
    """Count how often pixels of one class are taken for another.

    Args:
        pred: (H, W) or any other shape: classes, integers.
        target: Classes of the same shape and on the same device, integers.
        num_classes: Number of classes, C.
        ignore_index: Pixels of this target are left out.

    Returns:
        (C, C) int64 on the device of ``pred``: target by prediction.

    Raises:
        ValueError: Shapes differ, or there are classes out of range; also a prediction whose target
            is ignored.
    """
    if pred.shape != target.shape:
        raise ValueError(
            f"the prediction is {tuple(pred.shape)}, the target {tuple(target.shape)} pixels: "
            "expected equal sizes (the segmentor resizes its prediction to ori_shape)"
        )
    dtype = torch.promote_types(pred.dtype, target.dtype)
    pred, target = pred.to(dtype), target.to(dtype)
    if _extension.LOADED and pred.device.type == "cpu":
        counts = torch.ops.mmext._count_class_pairs(pred, target, num_classes, ignore_index)
    else:
        counts = count_class_pairs_reference(pred, target, num_classes, ignore_index)
    if counts[-1].any() or counts[:, -1].any():
        raise ValueError(
            f"the prediction has the classes {_list(pred)}, the target {_list(target)}; expected 0 "
            f"to {num_classes - 1}, and {ignore_index} for ignored pixels of the target"
        )
    return counts[:num_classes, :num_classes]


def count_class_pairs_reference(
    pred: Tensor, target: Tensor, num_classes: int, ignore_index: int
) -> Tensor:
    """Count pairs of classes, and pixels that have none.

    Args:
        pred: Classes, integers.
        target: Classes of the same shape, dtype and device.
        num_classes: Number of classes, C.
        ignore_index: What marks ignored pixels of the target.

    Returns:
        (C + 2, C + 1) int64, target by prediction. The last two rows are ignored targets and those
        out of range, the last column predictions out of range.
    """
    row = target.where((target >= 0) & (target < num_classes), num_classes + 1).long()
    row[target == ignore_index] = num_classes
    column = pred.where((pred >= 0) & (pred < num_classes), num_classes).long()
    shape = (num_classes + 2, num_classes + 1)
    cell = row * shape[1] + column
    return torch.bincount(cell.flatten(), minlength=shape[0] * shape[1]).reshape(shape)


def _list(classes: Tensor) -> str:
    """Return which classes occur, the lowest and the highest ones of many."""
    found = classes.unique().tolist()
    return str(found) if len(found) <= 40 else f"{found[:3]} to {found[-3:]}"


def _fake(pred: Tensor, target: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    return pred.new_empty((num_classes + 2, num_classes + 1), dtype=torch.int64)


if _extension.LOADED:
    torch.library.register_fake("mmext::_count_class_pairs", _fake)
