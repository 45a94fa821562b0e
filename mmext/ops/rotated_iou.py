"""Rotated IoU: intersection over union of pairs of rotated boxes, differentiable on any device."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import _extension


def rotated_iou(pred: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return the IoU of each pair of rotated boxes, with exact gradients for both.

    The derivative of the area of the intersection with respect to moving an edge outwards is the
    length of the part of that edge which lies in the other box. So the gradient has a closed form,
    costs as much as the value, and nothing but the boxes is kept for the backward pass. There is no
    epsilon, so the result does not depend on the unit of length.

    Where the IoU has a kink the gradient is a mean of the one-sided derivatives: parallel boxes
    with edges on one line count half as if ``pred`` were smaller by next to nothing and half as if
    it were larger. Equal boxes so have an IoU of exactly 1 and a gradient of 0. Boxes that do not
    touch have a gradient of 0, too.

    Sides that are not positive count as zero. A box of zero area has an IoU of 0, in which it may
    still have a gradient that makes it grow. A row with NaN or infinite values gives NaN.

    Half and bfloat16 boxes are computed in float32. First derivatives only.

    Args:
        pred: (N, 5) rboxes: x, y, w, h in pixels, angle in radians; any angle convention.
        target: (N, 5) rboxes. Of two dtypes the wider one is used.
        mask: (N,) bool. Rows where it is False are not looked at, whatever they hold: their IoU and
            gradient are 0.

    Returns:
        (N,) values from 0 to 1.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit.

    Source: the area is Green's theorem, its derivative Reynolds' transport theorem. mmcv's
    ``diff_iou_rotated_2d`` computes the same on CUDA only.
    """
    _check(pred, target, mask)
    dtype = torch.promote_types(pred.dtype, target.dtype)
    op = torch.ops.mmext.rotated_iou if _extension.LOADED else rotated_iou_reference
    return op(pred.to(dtype), target.to(dtype), mask)


def rotated_iou_reference(pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute :func:`rotated_iou` with plain differentiable torch functions, on any device.

    Test oracle and fallback. Takes the arguments of :func:`rotated_iou`.
    """
    dtype = pred.dtype
    working = torch.promote_types(dtype, torch.float32)
    pred, target = pred.to(working), target.to(working)
    if mask is not None:
        safe = pred.new_tensor([0.0, 0.0, 1.0, 1.0, 0.0])
        pred, target = (torch.where(mask[:, None], boxes, safe) for boxes in (pred, target))

    overlap = rotated_overlap_reference(pred, target)
    sides = [boxes[:, 2:4] + (-boxes[:, 2:4]).clamp(min=0).detach() for boxes in (pred, target)]
    union = sides[0].prod(-1) + (sides[1].prod(-1) - overlap)
    iou = torch.where(union > 0, overlap / torch.where(union > 0, union, 1), 0)
    iou = iou + 0 * (pred + target).sum(-1)  # NaN where a box is not finite
    return (iou if mask is None else torch.where(mask, iou, 0)).to(dtype)


def rotated_overlap_reference(pred: Tensor, target: Tensor) -> Tensor:
    """Return the area that pairs of (N, 5) rboxes of float32 or float64 share, differentiable.

    Where boxes have edges on one line the gradient is the mean that :func:`rotated_iou` describes.
    """
    p = _turned(pred, torch.round(pred[:, 4].detach() / (torch.pi / 2)))
    t = _turned(target, torch.round(target[:, 4].detach() / (torch.pi / 2)))
    t = _turned(t, torch.round((t[:, 4] - p[:, 4]).detach() / (torch.pi / 2)))
    with torch.no_grad():
        pieces = _pieces(p, t, tie=1.0)
        other = _pieces(p, t, tie=-1.0)
        areas = [boxes[:, 2:4].clamp(min=0).prod(-1) for boxes in (p, t)]
        overlap = torch.minimum(pieces.area, torch.minimum(*areas))
    moved = sum(
        0.5 * (_outward(p, way.length_p, way.middle_p) + _outward(t, way.length_t, way.middle_t))
        for way in (pieces, other)
    )
    return overlap + (moved - moved.detach())


class _Pieces(NamedTuple):
    """The parts of edges that lie in the other box.

    The four edges of a box are those at -w / 2, w / 2, -h / 2 and h / 2 of its own axes; a middle
    is measured along the edge from its centre.
    """

    length_p: Tensor  # (N, 4) px
    middle_p: Tensor
    length_t: Tensor
    middle_t: Tensor
    area: Tensor  # (N,) px^2


def _turned(boxes: Tensor, turns: Tensor) -> Tensor:
    """Describe (N, 5) rboxes with an angle that is smaller by so many quarter turns."""
    x, y, w, h, angle = boxes.unbind(-1)
    odd = turns % 2 == 1
    w, h = torch.where(odd, h, w), torch.where(odd, w, h)
    return torch.stack([x, y, w, h, angle - turns * (torch.pi / 2)], -1)


def _pieces(p: Tensor, t: Tensor, tie: float) -> _Pieces:
    """Clip the edges of each box at the other (see rotated_iou.h, which has the same names).

    Args:
        p: (N, 5) rboxes.
        t: (N, 5) rboxes whose angles differ from those of ``p`` by no more than pi / 4.
        tie: Whether boxes with edges on one line count as if p were a little smaller, 1, or larger,
            -1.
    """
    # (N, 1, 1) below; axis 1 is the negative and the positive side of P, axis 2 that of T.
    px, py, pw, ph, p_angle = p[..., None, None].unbind(1)
    tx, ty, tw, th, t_angle = t[..., None, None].unbind(1)
    angle = t_angle - p_angle
    mirror = torch.where(angle < 0, -1, 1)
    sine, cosine = angle.abs().sin(), angle.cos()
    parallel = sine <= torch.finfo(p.dtype).eps ** 2
    sine, cosine = torch.where(parallel, 0, sine), torch.where(parallel, 1, cosine)
    x = p_angle.cos() * (tx - px) + p_angle.sin() * (ty - py)
    y = mirror * (p_angle.cos() * (ty - py) - p_angle.sin() * (tx - px))
    sign = p.new_tensor([-1.0, 1.0])
    x_p, y_p = (side.clamp(min=0) / 2 * sign[:, None] for side in (pw, ph))
    u_t, v_t = (side.clamp(min=0) / 2 * sign for side in (tw, th))

    def flat(gap: Tensor, tie: Tensor) -> Tensor:
        side = torch.where(gap == 0, tie, gap.sign()) * (torch.finfo(p.dtype).max / 8)
        return torch.where(parallel, side, gap / torch.where(parallel, 1, sine))

    # Where lines cross: xu_v is the v at which x = x_p meets u = u_t, and so on.
    xu_v = flat(x + cosine * u_t - x_p, tie * sign[:, None])
    xu_y = y + sine * u_t + cosine * xu_v
    yv_u = flat(y_p - (y + cosine * v_t), -tie * sign[:, None])
    yv_x = x + cosine * yv_u - sine * v_t
    xv_u = (x_p - x + sine * v_t) / cosine
    xv_y = y + sine * xv_u + cosine * v_t
    yu_v = (y_p - y - sine * u_t) / cosine
    yu_x = x + cosine * u_t - sine * yu_v

    def common(low: list[Tensor], high: list[Tensor], half: Tensor) -> tuple[Tensor, Tensor]:
        half = half.abs().amax((1, 2))[:, None]
        low = torch.maximum(*low).clamp(-half, half)
        high = torch.minimum(*high).clamp(-half, half)
        return (high - low).clamp(min=0), (low + high) / 2

    on_x = common([xu_y[:, :, 0], xv_y[:, :, 0]], [xu_y[:, :, 1], xv_y[:, :, 1]], y_p)
    on_y = common([yu_x[:, :, 0], yv_x[:, :, 1]], [yu_x[:, :, 1], yv_x[:, :, 0]], x_p)
    on_u = common([xu_v[:, 1], yu_v[:, 0]], [xu_v[:, 0], yu_v[:, 1]], v_t)
    on_v = common([xv_u[:, 0], yv_u[:, 0]], [xv_u[:, 1], yv_u[:, 1]], u_t)

    # The integral of x dy along the border, from the x of P that is nearest to T's centre.
    start = torch.minimum(torch.maximum(x, x_p[:, :1]), x_p[:, 1:])
    along_u = (x - start + cosine * u_t)[:, 0] - sine[:, 0] * on_u[1]
    along_v = (x - start - sine * v_t)[:, 0] + cosine[:, 0] * on_v[1]
    area = (
        (x_p - start)[:, :, 0] * sign * on_x[0]
        + cosine[:, 0] * sign * on_u[0] * along_u
        - sine[:, 0] * sign * on_v[0] * along_v
    ).sum(-1)
    mirrored = (mirror < 0)[:, 0]
    return _Pieces(
        *_unmirrored(on_x, on_y, mirrored), *_unmirrored(on_u, on_v, mirrored), area.clamp(min=0)
    )


def _unmirrored(
    first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor], mirrored: Tensor
) -> tuple[Tensor, Tensor]:
    """Put together the pieces of a box, back from mirrored axes.

    Args:
        first: (N, 2) lengths and middles of the edges along the axis that may be mirrored.
        second: (N, 2) lengths and middles of the others, which then have changed places.
        mirrored: (N, 1) bool.

    Returns:
        (N, 4) lengths and middles.
    """
    length, middle = first
    middle = torch.where(mirrored, -middle, middle)
    others = [torch.where(mirrored, values.flip(1), values) for values in second]
    return torch.cat([length, others[0]], 1), torch.cat([middle, others[1]], 1)


def _outward(boxes: Tensor, length: Tensor, middle: Tensor) -> Tensor:
    """Return numbers whose gradient is the area that moving ``boxes`` adds beyond given pieces.

    The piece of an edge adds its length times the outward motion of its middle.

    Args:
        boxes: (N, 5) rboxes, through which the gradient goes.
        length: (N, 4) px, one piece for each edge.
        middle: (N, 4) px along the edge.

    Returns:
        (N,); the values mean nothing.
    """
    x, y, w, h, angle = boxes[..., None].unbind(1)
    sign = boxes.new_tensor([-0.5, 0.5])
    along_w = torch.cat([w * sign, middle[:, 2:]], 1)  # the middles in the box's own axes
    along_h = torch.cat([middle[:, :2], h * sign], 1)
    middle_x = x + angle.cos() * along_w - angle.sin() * along_h
    middle_y = y + angle.sin() * along_w + angle.cos() * along_h
    cosine, sine = angle.detach().cos(), angle.detach().sin()
    out = boxes.new_tensor([-1.0, 1.0])
    normal_x = torch.cat([cosine * out, -sine * out], 1)
    normal_y = torch.cat([sine * out, cosine * out], 1)
    return (length * (normal_x * middle_x + normal_y * middle_y)).sum(-1)


def _check(pred: Tensor, target: Tensor, mask: Tensor | None) -> None:
    """Raise a ValueError that names the argument which does not fit."""
    for name, boxes in (("pred", pred), ("target", target)):
        if boxes.dim() != 2 or boxes.shape[1] != 5:
            raise ValueError(
                f"rotated_iou: {name} must be (N, 5) rboxes x, y, w, h, angle, got "
                f"{tuple(boxes.shape)}."
            )
        if not boxes.is_floating_point():
            raise ValueError(f"rotated_iou: {name} must be floating point, got {boxes.dtype}.")
    if pred.shape != target.shape:
        raise ValueError(
            "rotated_iou: pred and target are pairs, got "
            f"{pred.shape[0]} and {target.shape[0]} boxes."
        )
    if mask is not None and (mask.shape != pred.shape[:1] or mask.dtype != torch.bool):
        raise ValueError(
            f"rotated_iou: mask must be ({pred.shape[0]},) bool, got {tuple(mask.shape)} "
            f"{mask.dtype}."
        )
    for name, tensor in (("target", target), ("mask", mask)):
        if tensor is not None and tensor.device != pred.device:
            raise ValueError(
                f"rotated_iou: {name} is on {tensor.device}, pred on {pred.device}; move them "
                "together."
            )


def _fake_forward(pred: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    return pred.new_empty(pred.shape[0])


def _fake_backward(
    grad: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, output_mask: list[bool]
) -> tuple[Tensor, Tensor]:
    """Tell torch.compile the shapes of the gradients; one that is not asked for is empty."""
    need_pred, need_target = output_mask
    shape = tuple(pred.shape)
    return pred.new_empty(shape if need_pred else 0), pred.new_empty(shape if need_target else 0)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    """Keep what the backward op needs."""
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    """Call the backward op."""
    needed = list(ctx.needs_input_grad[:2])
    gradients = torch.ops.mmext._rotated_iou_backward(grad, *ctx.saved_tensors, needed)
    grad_pred, grad_target = (
        gradient if need else None for gradient, need in zip(gradients, needed, strict=True)
    )
    return grad_pred, grad_target, None


def _register() -> None:
    """Attach fake kernels and the autograd rule to the ops of ``mmext._C``."""
    torch.library.register_fake("mmext::rotated_iou", _fake_forward)
    torch.library.register_fake("mmext::_rotated_iou_backward", _fake_backward)
    torch.library.register_autograd("mmext::rotated_iou", _backward, setup_context=_setup_context)


if _extension.LOADED:
    _register()
