"""A clamp out of which a training finds its way back."""

from typing import Any

import torch
from torch import Tensor


class _ReturningClamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad.masked_fill((x.abs() > 1) & (x * grad <= 0), 0)


def returning_clamp(x: Tensor) -> Tensor:
    """Clamp to [-1, 1] with a gradient where a step against it leads back inside.

    The gradient of an ordinary clamp is 0 outside. Values that have left stay there for good, as
    happened to generators whose images ended as one saturated pattern.

    Args:
        x: Of any shape.

    Returns:
        As ``x``, in [-1, 1].
    """
    return _ReturningClamp.apply(x)
