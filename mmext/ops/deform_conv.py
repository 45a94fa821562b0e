"""Deformable convolution, plain (v1) and modulated (v2)."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.utils import _pair

from . import _extension

Pair = tuple[int, int]


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    stride: int | Pair = 1,
    padding: int | Pair = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    deform_groups: int = 1,
) -> Tensor:
    """Convolve ``x`` at sampling points displaced by ``offset`` and scaled by ``mask``.

    Deformable Convolutional Networks (Dai et al., 2017), eq. 2 and 3, and, with a mask,
    Deformable ConvNets v2 (Zhu et al., 2019), eq. 1. Values and gradients are those of mmcv's
    ``deform_conv2d`` and ``modulated_deform_conv2d``: samples are bilinear, pixels outside the
    image count as zero, and at whole-numbered positions the gradient of an offset is the one
    towards larger coordinates.

    Half and bfloat16 inputs are computed in float32 (on CUDA positions and sums are; the sampled
    values are rounded before the matrix product). Under autocast all inputs are cast to float32,
    since half offsets would move the samples. On CUDA the gradient of ``x`` is summed with
    atomics; on CPU the result is the same from run to run at a given number of threads.

    Args:
        x: (N, C, H, W) feature map. The result has its memory format; channels-last saves copies.
        offset: (N, 2 * deform_groups * kh * kw, out_h, out_w) displacements in pixels, the
            channels ordered (deform group, kernel point, [row, column]).
        weight: (O, C / groups, kh, kw) filters.
        bias: (O,) or None.
        mask: (N, deform_groups * kh * kw, out_h, out_w) factors of the samples, after the sigmoid;
            None for v1.
        stride: Step between output points, in pixels.
        padding: Zero padding at each side, in pixels.
        dilation: Step between kernel points, in pixels.
        groups: Blocks of channels that are convolved independently.
        deform_groups: Blocks of input channels with offsets (and masks) of their own.

    Returns:
        (N, O, out_h, out_w) with out = (size + 2 * padding - dilation * (k - 1) - 1) // stride + 1.

    Raises:
        ValueError: An argument has a shape, dtype, device or value that does not fit the others.
    """
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    _check(x, offset, weight, bias, mask, stride, padding, dilation, groups, deform_groups)
    op = torch.ops.mmext.deform_conv2d if _extension.LOADED else deform_conv2d_reference
    return op(x, offset, weight, bias, mask, stride, padding, dilation, groups, deform_groups)


def deform_conv2d_reference(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    deform_groups: int,
) -> Tensor:
    """Compute :func:`deform_conv2d` with plain differentiable torch functions, on any device.

    Test oracle and fallback. Takes the arguments of :func:`deform_conv2d`, pairs already expanded.
    """
    device = x.device.type
    dtype = torch.float32 if torch.is_autocast_enabled(device) else x.dtype
    working = torch.promote_types(dtype, torch.float32)
    x, offset, weight = (tensor.to(working) for tensor in (x, offset, weight))
    with torch.autocast(device, enabled=False):
        columns = _sample_columns(
            x, offset, weight.shape[2:], stride, padding, dilation, deform_groups
        )
        if mask is not None:
            columns = columns * mask.to(working).unflatten(1, (deform_groups, 1, -1))
        n, c, (kh, kw) = x.shape[0], x.shape[1], weight.shape[2:]
        columns = columns.reshape(n, groups, c // groups * kh * kw, *offset.shape[2:])
        filters = weight.reshape(groups, -1, columns.shape[2])
        out = torch.einsum("ngkhw,gok->ngohw", columns, filters).flatten(1, 2)
        if bias is not None:
            out = out + bias.to(working)[:, None, None]
        return out.to(dtype)


def _sample_columns(
    x: Tensor,
    offset: Tensor,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    deform_groups: int,
) -> Tensor:
    """Sample ``x`` bilinearly under every kernel point.

    Returns:
        (N, deform_groups, C / deform_groups, kh * kw, out_h, out_w).
    """
    n, c, height, width = x.shape
    out_h, out_w = offset.shape[2:]
    taps = kernel_size[0] * kernel_size[1]
    offset = offset.reshape(n, deform_groups, taps, 2, out_h, out_w)

    def centres(axis: int, out_size: int) -> tuple[Tensor, Tensor]:
        out = torch.arange(out_size, device=x.device) * stride[axis] - padding[axis]
        return out, torch.arange(kernel_size[axis], device=x.device) * dilation[axis]

    rows, kernel_rows = centres(0, out_h)
    cols, kernel_cols = centres(1, out_w)
    kernel_rows, kernel_cols = torch.meshgrid(kernel_rows, kernel_cols, indexing="ij")
    row = offset[:, :, :, 0] + (kernel_rows.reshape(-1, 1, 1) + rows[:, None])
    col = offset[:, :, :, 1] + (kernel_cols.reshape(-1, 1, 1) + cols)

    inside = (row > -1) & (row < height) & (col > -1) & (col < width)
    row, col = row.where(inside, 0), col.where(inside, 0)
    top, left = row.detach().floor(), col.detach().floor()
    row_fraction, col_fraction = row - top, col - left
    pixels = x.reshape(n, deform_groups, c // deform_groups, height * width)
    samples = 0
    for bottom, row_weight in ((0, 1 - row_fraction), (1, row_fraction)):
        for right, col_weight in ((0, 1 - col_fraction), (1, col_fraction)):
            i, j = top.long() + bottom, left.long() + right
            valid = inside & (i >= 0) & (i < height) & (j >= 0) & (j < width)
            index = (i * width + j).where(valid, 0).flatten(2).unsqueeze(2)
            corner = pixels.gather(3, index.expand(-1, -1, pixels.shape[2], -1))
            corner = corner.unflatten(3, row.shape[2:]).where(valid.unsqueeze(2), 0)
            samples = samples + corner * (row_weight * col_weight).unsqueeze(2)
    return samples


def _output_size(
    x: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair
) -> tuple[int, int]:
    """Return the height and width of the convolution's result."""
    height, width = (
        (x.shape[2 + i] + 2 * padding[i] - dilation[i] * (weight.shape[2 + i] - 1) - 1) // stride[i]
        + 1
        for i in range(2)
    )
    return height, width


def _check(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    deform_groups: int,
) -> None:
    """Raise a ValueError that names the argument which does not fit."""
    for name, tensor, axes in (
        ("x", x, "(N, C, H, W)"),
        ("weight", weight, "(O, C / groups, kh, kw)"),
    ):
        if tensor.dim() != 4:
            raise ValueError(f"deform_conv2d: {name} must be {axes}, got {tuple(tensor.shape)}.")
    for name, value, least in (
        ("stride", min(stride), 1),
        ("padding", min(padding), 0),
        ("dilation", min(dilation), 1),
        ("groups", groups, 1),
        ("deform_groups", deform_groups, 1),
    ):
        if value < least:
            raise ValueError(f"deform_conv2d: {name} must be at least {least}, got {value}.")
    n, c = x.shape[:2]
    out_channels, weight_channels, kh, kw = weight.shape
    if weight_channels * groups != c or out_channels % groups:
        raise ValueError(
            f"deform_conv2d: weight must be (O, C / groups, kh, kw) with C={c}, groups={groups} "
            f"and O a multiple of groups, got {tuple(weight.shape)}."
        )
    if c % deform_groups:
        raise ValueError(
            f"deform_conv2d: deform_groups={deform_groups} must divide the {c} channels of x."
        )
    out_h, out_w = _output_size(x, weight, stride, padding, dilation)
    if out_h < 1 or out_w < 1:
        raise ValueError(
            f"deform_conv2d: x of {x.shape[2]}x{x.shape[3]} pixels is too small for a {kh}x{kw} "
            f"kernel with padding={padding}, dilation={dilation}: the output would be empty."
        )
    taps = deform_groups * kh * kw
    for name, tensor, expected, axes in (
        ("offset", offset, (n, 2 * taps, out_h, out_w), "2 * deform_groups * kh * kw"),
        ("mask", mask, (n, taps, out_h, out_w), "deform_groups * kh * kw"),
    ):
        if tensor is not None and tuple(tensor.shape) != expected:
            raise ValueError(
                f"deform_conv2d: {name} must be (N, {axes}, out_h, out_w) = {expected}, got "
                f"{tuple(tensor.shape)}."
            )
    if bias is not None and tuple(bias.shape) != (out_channels,):
        raise ValueError(f"deform_conv2d: bias must be ({out_channels},), got {tuple(bias.shape)}.")
    _check_dtypes(x, {"offset": offset, "weight": weight, "bias": bias, "mask": mask})


def _check_dtypes(x: Tensor, others: dict[str, Tensor | None]) -> None:
    """Raise a ValueError for a tensor that cannot be used together with ``x``."""
    if not x.is_floating_point():
        raise ValueError(f"deform_conv2d: x must be floating point, got {x.dtype}.")
    autocast = torch.is_autocast_enabled(x.device.type)
    for name, tensor in others.items():
        if tensor is None:
            continue
        if tensor.device != x.device:
            raise ValueError(
                f"deform_conv2d: {name} is on {tensor.device}, x on {x.device}; move them together."
            )
        if tensor.dtype != x.dtype and not autocast:
            raise ValueError(
                f"deform_conv2d: {name} is {tensor.dtype}, x {x.dtype}; cast them to one dtype or "
                "run under torch.autocast."
            )


def _empty_like_x(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return an uninitialised tensor in the memory format that the kernels choose for ``x``."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=layout)


def _fake_forward(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    deform_groups: int,
) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    size = _output_size(x, weight, stride, padding, dilation)
    return _empty_like_x(x, (x.shape[0], weight.shape[0], *size))


def _fake_backward(
    grad: Tensor,
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    deform_groups: int,
    output_mask: list[bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tell torch.compile the shapes of the gradients; one that is not asked for is empty."""
    need_x, need_offset, need_weight, need_mask = output_mask
    return (
        _empty_like_x(x, x.shape) if need_x else x.new_empty(0),
        offset.new_empty(offset.shape) if need_offset else x.new_empty(0),
        weight.new_empty(weight.shape) if need_weight else x.new_empty(0),
        mask.new_empty(mask.shape) if need_mask and mask is not None else x.new_empty(0),
    )


def _setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    """Keep what the backward op needs."""
    x, offset, weight, _bias, mask, *ctx.settings = inputs
    ctx.save_for_backward(x, offset, weight, mask)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Call the backward op for the gradients that are asked for."""
    x, offset, weight, mask = ctx.saved_tensors
    need_x, need_offset, need_weight, need_bias, need_mask = ctx.needs_input_grad[:5]
    output_mask = [need_x, need_offset, need_weight, need_mask]
    grads = torch.ops.mmext._deform_conv2d_backward(
        grad, x, offset, weight, mask, *ctx.settings, output_mask
    )
    grad_x, grad_offset, grad_weight, grad_mask = (
        value if needed else None for value, needed in zip(grads, output_mask, strict=True)
    )
    grad_bias = grad.sum((0, 2, 3)) if need_bias else None
    return grad_x, grad_offset, grad_weight, grad_bias, grad_mask, *[None] * len(ctx.settings)


def _refuse_double_backward(ctx: Any, *grads: Tensor) -> None:
    """Say that second derivatives are missing, instead of returning none silently."""
    raise NotImplementedError(
        "deform_conv2d has no second derivative; mmext.ops.deform_conv.deform_conv2d_reference "
        "has one."
    )


def _register() -> None:
    """Attach fake kernels, autograd and autocast rules to the ops of ``mmext._C``."""
    forward, backward = "mmext::deform_conv2d", "mmext::_deform_conv2d_backward"
    torch.library.register_fake(forward, _fake_forward)
    torch.library.register_fake(backward, _fake_backward)
    torch.library.register_autograd(forward, _backward, setup_context=_setup_context)
    torch.library.register_autograd(
        backward, _refuse_double_backward, setup_context=lambda ctx, inputs, output: None
    )
    for device in ("cpu", "cuda"):
        torch.library.register_autocast(forward, device, torch.float32)


if _extension.LOADED:
    _register()
