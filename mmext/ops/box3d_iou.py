"""IoU of 3-D boxes that turn about the vertical axis, each with each, differentiable."""

from typing import Any

import torch
from torch import Tensor

from . import _extension
from ._boxes3d import check_boxes
from ._points import check_device
from .rotated_iou import rotated_overlap_reference

# x, y, l, w, yaw of a 3-D box: what is seen from above.
_FROM_ABOVE = [0, 1, 3, 4, 6]


def box3d_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Return the IoU of each box of one set with each of the other, with gradients for both.

    Exact for axis-aligned and for turned boxes, also where they touch, contain one another, are
    equal (then it is exactly 1), a millimetre long or a kilometre from the origin: what boxes share
    is found from the difference of their centres, without a tolerance.

    Sizes that are not positive count as zero. A box of zero volume has an IoU of 0. A box with NaN
    or infinite values gives NaN in its own row or column. Where the IoU has a kink the gradient is
    a mean of the one-sided derivatives, see :func:`rotated_iou`.

    Half and bfloat16 boxes are computed in float32. First derivatives only.

    Args:
        boxes_a: (N, 7) boxes: gravity centre x, y, z and full sizes l, w, h in metres, yaw in
            radians, counter-clockwise about +z.
        boxes_b: (M, 7) boxes. Of two dtypes the wider one is used.

    Returns:
        (N, M) values from 0 to 1.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit.

    Source: the area from above is that of :func:`rotated_iou`. mmcv's ``diff_iou_rotated_3d``
    computes the same for pairs, on CUDA only.
    """
    check_boxes("box3d_iou", "boxes_a", boxes_a)
    check_boxes("box3d_iou", "boxes_b", boxes_b)
    check_device("box3d_iou", ("boxes_b", boxes_b), ("boxes_a", boxes_a))
    dtype = torch.promote_types(boxes_a.dtype, boxes_b.dtype)
    # The kernels take boxes of float32 and float64; casting has its own gradient.
    working = torch.promote_types(dtype, torch.float32)
    op = torch.ops.mmext.box3d_iou if _extension.LOADED else box3d_iou_reference
    return op(boxes_a.to(working), boxes_b.to(working)).to(dtype)


def box3d_iou_reference(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Compute :func:`box3d_iou` with plain differentiable torch functions, on any device.

    Test oracle and fallback. Takes the arguments of :func:`box3d_iou`, of float32 or float64.
    """
    shape = (boxes_a.shape[0], boxes_b.shape[0])
    a = boxes_a[:, None].expand(*shape, 7).reshape(-1, 7)
    b = boxes_b[None].expand(*shape, 7).reshape(-1, 7)
    size_a, size_b = ((box[:, 3:6] + (-box[:, 3:6]).clamp(min=0).detach()) for box in (a, b))
    apart = (b[:, 2] - a[:, 2]).abs()
    height_a, height_b = size_a[:, 2], size_b[:, 2]
    # Of a box within the other its own height, which a difference of borders would round.
    height = torch.minimum(torch.minimum(height_a, height_b), 0.5 * (height_a + height_b) - apart)
    height = torch.maximum(height, torch.zeros_like(height))
    shared = rotated_overlap_reference(a[:, _FROM_ABOVE], b[:, _FROM_ABOVE]) * height
    volumes = size_a.prod(-1), size_b.prod(-1)
    least, most = torch.minimum(*volumes), torch.maximum(*volumes)
    shared = shared - (shared - least).clamp(min=0).detach()
    union = (least - shared) + most
    iou = torch.where(union > 0, shared / torch.where(union > 0, union, 1), 0)
    iou = iou + 0 * (a + b).sum(-1)  # NaN where a box is not finite
    return iou.reshape(shape)


def _fake_forward(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    return boxes_a.new_empty((boxes_a.shape[0], boxes_b.shape[0]))


def _fake_backward(
    grad: Tensor, boxes_a: Tensor, boxes_b: Tensor, output_mask: list[bool]
) -> tuple[Tensor, Tensor]:
    """Tell torch.compile the shapes of the gradients; one that is not asked for is empty."""
    need_a, need_b = output_mask
    return (
        boxes_a.new_empty(tuple(boxes_a.shape) if need_a else 0),
        boxes_b.new_empty(tuple(boxes_b.shape) if need_b else 0),
    )


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    """Keep what the backward op needs."""
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Call the backward op."""
    needed = list(ctx.needs_input_grad[:2])
    gradients = torch.ops.mmext._box3d_iou_backward(grad, *ctx.saved_tensors, needed)
    grad_a, grad_b = (
        gradient if need else None for gradient, need in zip(gradients, needed, strict=True)
    )
    return grad_a, grad_b


if _extension.LOADED:
    torch.library.register_fake("mmext::box3d_iou", _fake_forward)
    torch.library.register_fake("mmext::_box3d_iou_backward", _fake_backward)
    torch.library.register_autograd("mmext::box3d_iou", _backward, setup_context=_setup_context)
