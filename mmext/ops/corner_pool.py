"""Corner pooling: the running maximum of a feature map towards one of its four sides."""

from typing import Literal

import torch
from torch import Tensor

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
    Gradients of half and bfloat16 inputs are summed in float32.

    Args:
        x: (..., H, W) feature map of floating point. The result has its memory format.
        mode: The side from which the maximum is taken, as in the table.

    Returns:
        (..., H, W), dtype of ``x``.

    Raises:
        ValueError: ``x`` is no feature map or ``mode`` none of the four.
    """
    _check(x, mode)
    return corner_pool_reference(x, mode)


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
