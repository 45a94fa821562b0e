"""Non-maximum suppression of 3-D boxes."""

import torch
from torch import Tensor

from . import _extension
from ._boxes3d import check_boxes, hulls
from ._points import check_device
from .box3d_iou import box3d_iou_reference


def nms3d(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    *,
    labels: Tensor | None = None,
    rotated: bool = True,
) -> Tensor:
    """Keep the boxes that overlap no better one by more than a threshold.

    Greedy, by falling score; of equal scores the lower index comes first. A box is dropped if its
    IoU with one that is kept is greater than the threshold. Boxes of zero volume overlap nothing.

    Half types are computed in float32.

    Args:
        boxes: (N, 7) boxes: gravity centre x, y, z and full sizes l, w, h in metres, yaw in
            radians, counter-clockwise about +z.
        scores: (N,) scores.
        iou_threshold: IoU above which the worse of two boxes is dropped.
        labels: (N,) integers; only boxes of one label suppress each other. None: all do.
        rotated: Whether the IoU is that of the boxes, or that of the axis-aligned boxes around
            them, as in the evaluation of VoteNet and Group-Free-3D.

    Returns:
        (K,) int64 indices of the boxes kept, by falling score.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit, or a score or box is not finite. The
            latter is found on a CPU only; on other devices such a box suppresses nothing.
    """
    _check(boxes, scores, labels)
    dtype = torch.promote_types(boxes.dtype, torch.float32)
    boxes = boxes.detach().to(dtype)
    order = scores.detach().argsort(descending=True, stable=True)
    boxes = (boxes if rotated else hulls(boxes))[order]
    labels = None if labels is None else labels[order].long()
    op = torch.ops.mmext._nms3d_kept if _extension.LOADED else nms3d_reference
    return order[op(boxes, labels, iou_threshold)]


def nms3d_reference(boxes: Tensor, labels: Tensor | None, iou_threshold: float) -> Tensor:
    """Say which of (N, 7) boxes :func:`nms3d` keeps, with plain torch functions, on any device.

    Test oracle and fallback.

    Args:
        boxes: (N, 7) boxes by falling score, in float32 or float64.
        labels: (N,) integers or None.
        iou_threshold: See :func:`nms3d`.

    Returns:
        (N,) bool.
    """
    suppresses = (box3d_iou_reference(boxes, boxes) > iou_threshold).triu(1)
    if labels is not None:
        suppresses &= labels[:, None] == labels
    kept = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    for row, of_row in enumerate(suppresses):
        kept &= ~(of_row & kept[row])
    return kept


def _fake(boxes: Tensor, labels: Tensor | None, iou_threshold: float) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    return boxes.new_empty(boxes.shape[0], dtype=torch.bool)


def _check(boxes: Tensor, scores: Tensor, labels: Tensor | None) -> None:
    """Raise a ValueError that names the argument which does not fit."""
    check_boxes("nms3d", "boxes", boxes)
    count = boxes.shape[0]
    if scores.shape != (count,) or not scores.is_floating_point():
        raise ValueError(
            f"nms3d: scores must be ({count},) floating point, got {tuple(scores.shape)} "
            f"{scores.dtype}."
        )
    check_device("nms3d", ("scores", scores), ("boxes", boxes))
    if labels is not None:
        if labels.shape != (count,) or labels.dtype not in (torch.int32, torch.int64):
            raise ValueError(
                f"nms3d: labels must be ({count},) int32 or int64, got {tuple(labels.shape)} "
                f"{labels.dtype}."
            )
        check_device("nms3d", ("labels", labels), ("boxes", boxes))
    if boxes.device.type == "cpu" and not torch.compiler.is_compiling():
        broken = ~(boxes.isfinite().all(-1) & scores.isfinite())
        if broken.any():
            index = int(broken.nonzero()[0])
            raise ValueError(
                f"nms3d: boxes[{index}] is {boxes[index].tolist()} with score "
                f"{scores[index].item():g}; remove boxes that are not finite before."
            )


if _extension.LOADED:
    torch.library.register_fake("mmext::_nms3d_kept", _fake)
