"""GELU, depth-wise 3x3 convolution and GELU in one: what is between the layers of a LeFF."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import _extension


def gelu_dwconv_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute ``gelu(depth-wise convolution of gelu(x))`` on maps with channels last.

    The middle of the locally-enhanced feed-forward layer of Uformer (Wang et al., 2022, section
    3.2). GELU is the exact one, with the error function; float32 is good to about 1e-7.

    On a CPU a kernel keeps what is between the three layers in cache, and only ``x`` is kept for
    the backward pass, which computes the rest again. Elsewhere it is three calls of torch.

    Half and bfloat16 maps are computed in float32. Weights may have another dtype than ``x``, so
    autocast casts nothing. First derivatives only on a CPU.

    Args:
        x: (B, H, W, C) maps, beyond whose borders there are zeros.
        weight: (C, 1, 3, 3), as ``nn.Conv2d(C, C, 3, padding=1, groups=C)`` has it.
        bias: (C,).

    Returns:
        (B, H, W, C), contiguous, dtype of ``x``.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit.
    """
    _check(x, weight, bias)
    if _extension.LOADED and x.device.type == "cpu":
        return torch.ops.mmext.gelu_dwconv_gelu(x, weight, bias)
    return gelu_dwconv_gelu_reference(x, weight, bias)


def gelu_dwconv_gelu_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute :func:`gelu_dwconv_gelu` with plain differentiable torch functions, on any device.

    Test oracle, fallback, and what runs on accelerators. Takes the arguments of
    :func:`gelu_dwconv_gelu`.
    """
    # A permuted view is a map in channels-last memory, so nothing is copied.
    maps = functional.gelu(x).permute(0, 3, 1, 2)
    weight, bias = weight.to(x.dtype), bias.to(x.dtype)
    maps = functional.conv2d(maps, weight, bias, padding=1, groups=len(bias))
    return functional.gelu(maps.permute(0, 2, 3, 1)).to(x.dtype).contiguous()


def _check(x: Tensor, weight: Tensor, bias: Tensor) -> None:
    """Raise a ValueError that names the tensor which does not fit."""
    if x.dim() != 4:
        raise ValueError(f"gelu_dwconv_gelu: x must be (B, H, W, C), got {tuple(x.shape)}.")
    channels = x.shape[3]
    shapes = {"weight": (weight, (channels, 1, 3, 3)), "bias": (bias, (channels,))}
    for name, (tensor, shape) in {"x": (x, tuple(x.shape)), **shapes}.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"gelu_dwconv_gelu: {name} must be {shape} to fit x {tuple(x.shape)}, got "
                f"{tuple(tensor.shape)}."
            )
        if not tensor.is_floating_point():
            raise ValueError(
                f"gelu_dwconv_gelu: {name} must be floating point, got {tensor.dtype}."
            )
        if tensor.device != x.device:
            raise ValueError(
                f"gelu_dwconv_gelu: {name} is on {tensor.device}, x on {x.device}; move them "
                "together."
            )


def _fake_forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Tell torch.compile and torch.export the shape and layout of the result."""
    return x.new_empty(x.shape)


def _fake_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Tell torch.compile the shapes and layouts of the gradients."""
    return x.new_empty(x.shape), weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    """Keep what the backward op needs."""
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Call the backward op."""
    return torch.ops.mmext._gelu_dwconv_gelu_backward(grad, *ctx.saved_tensors)


def _refuse_double_backward(ctx: Any, *grads: Tensor) -> None:
    """Say that second derivatives are missing, instead of returning none silently."""
    raise RuntimeError(
        "gelu_dwconv_gelu has no second derivative on a CPU; "
        "mmext.ops.gelu_dwconv_gelu.gelu_dwconv_gelu_reference has."
    )


def _register() -> None:
    """Attach fake kernels and autograd rules to the ops of ``mmext._C``."""
    forward, backward = "mmext::gelu_dwconv_gelu", "mmext::_gelu_dwconv_gelu_backward"
    torch.library.register_fake(forward, _fake_forward)
    torch.library.register_fake(backward, _fake_backward)
    torch.library.register_autograd(forward, _backward, setup_context=_setup_context)
    torch.library.register_autograd(
        backward, _refuse_double_backward, setup_context=lambda ctx, inputs, output: None
    )


if _extension.LOADED:
    _register()
