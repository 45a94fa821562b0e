"""Corner pooling: the running maximum of a feature map towards one of its four sides."""

from typing import Any, Literal

import torch
from torch import Tensor

from . import _extension

Mode = Literal["top", "bottom", "left", "right"]

# The axis along which a mode runs, and whether it runs from the last element to the first.
_SWEEPS: dict[str, tuple[int, bool]] = {
    "top": (-2, True),
    "bottom": (-2, False),
    "left": (-1, True),
    "right": (-1, False),
}


def corner_pool(x: Tensor, mode: Mode) -> Tensor:
    """Replace each element by the maximum of itself and all elements on one side of it.

    CornerNet (Law & Deng, 2018), section 3.3, eq. 6 and 7; bottom and right are the mirrored modes
    that its bottom-right corners use. Center pooling and cascade corner pooling (CenterNet, Duan
    et al., 2019, section 3) are built from the four modes.

    ======== =========================== ==================
    mode     maximum over                the sweep starts
    ======== =========================== ==================
    top      ``x[..., y:, x]``           at the bottom row
    bottom   ``x[..., : y + 1, x]``      at the top row
    left     ``x[..., y, x:]``           at the last column
    right    ``x[..., y, : x + 1]``      at the first column
    ======== =========================== ==================

    The gradient of an output goes to exactly one element. Among equal ones it is the latest of the
    sweep, the one nearest to the output, as with ``torch.cummax`` and mmcv's ``CornerPool``. (The
    extension of the CornerNet and CenterNet authors credits the earliest. Values are the same; the
    gradients differ where maxima tie, which after a ReLU is wherever a maximum is zero.) A NaN
    stays the maximum from where the sweep meets it on, and gets the gradient until the next one.

    Values are copies of inputs, so no dtype rounds them, and autocast leaves the dtype as it is.
    Gradients of half and bfloat16 inputs are summed in float32. Only ``x`` is kept for the backward
    pass. Derivatives of any order exist in reverse mode; forward mode has none.

    Args:
        x: (..., H, W) feature map of floating point. The result has its memory format.
        mode: The side towards which the sweep runs.

    Returns:
        (..., H, W), dtype of ``x``.

    Raises:
        ValueError: ``x`` is no feature map or ``mode`` none of the four.
    """
    _check(x, mode)
    op = torch.ops.mmext.corner_pool if _extension.LOADED else corner_pool_reference
    return op(x, mode)


def corner_pool_reference(x: Tensor, mode: Mode) -> Tensor:
    """Compute :func:`corner_pool` with plain differentiable torch functions, on any device.

    Test oracle and fallback. Takes the arguments of :func:`corner_pool`.
    """
    axis, backwards = _SWEEPS[mode]
    working = x.to(torch.promote_types(x.dtype, torch.float32))
    if backwards:
        out = working.flip(axis).cummax(axis).values.flip(axis)
    else:
        out = working.cummax(axis).values
    return out.to(x.dtype)


def _check(x: Tensor, mode: str) -> None:
    """Raise a ValueError that names the argument which does not fit."""
    if mode not in _SWEEPS:
        raise ValueError(f"corner_pool: mode must be one of {', '.join(_SWEEPS)}, got {mode!r}.")
    if x.dim() < 2:
        raise ValueError(f"corner_pool: x must be (..., H, W), got {tuple(x.shape)}.")
    if not x.is_floating_point():
        raise ValueError(f"corner_pool: x must be floating point, got {x.dtype}.")


def _fake_forward(x: Tensor, mode: Mode) -> Tensor:
    """Tell torch.compile and torch.export the shape and layout of the result."""
    channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty_like(x, memory_format=layout)


def _fake_backward(grad: Tensor, x: Tensor, mode: Mode) -> Tensor:
    """Tell torch.compile the shape and layout of the gradient."""
    return _fake_forward(x, mode)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Mode], output: Tensor) -> None:
    """Keep what the backward op needs."""
    x, ctx.mode = inputs
    ctx.save_for_backward(x)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    """Call the backward op."""
    (x,) = ctx.saved_tensors
    return torch.ops.mmext._corner_pool_backward(grad, x, ctx.mode), None


def _setup_backward_context(ctx: Any, inputs: tuple[Tensor, Tensor, Mode], output: Tensor) -> None:
    """Keep what the derivative of the backward op needs."""
    grad, x, ctx.mode = inputs
    ctx.dtype = grad.dtype
    ctx.save_for_backward(x)


def _double_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    """Read, for each output, the element that its gradient went to.

    The backward op is linear in the gradient and piecewise constant in ``x``.
    """
    (x,) = ctx.saved_tensors
    axis, backwards = _SWEEPS[ctx.mode]
    working = x.to(torch.promote_types(x.dtype, torch.float32))
    if backwards:
        working, grad = working.flip(axis), grad.flip(axis)
    result = grad.gather(axis, working.cummax(axis).indices)
    if backwards:
        result = result.flip(axis)
    return result.to(ctx.dtype), None, None


def _register() -> None:
    """Attach fake kernels and autograd rules to the ops of ``mmext._C``."""
    forward, backward = "mmext::corner_pool", "mmext::_corner_pool_backward"
    torch.library.register_fake(forward, _fake_forward)
    torch.library.register_fake(backward, _fake_backward)
    torch.library.register_autograd(forward, _backward, setup_context=_setup_context)
    torch.library.register_autograd(
        backward, _double_backward, setup_context=_setup_backward_context
    )


if _extension.LOADED:
    _register()
