"""Attention with a learned bias, in many small windows."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from . import _extension


def biased_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    """Compute multi-head attention whose logits get a bias that all windows share.

    ``softmax(q k^T / sqrt(C / h) + bias) v`` for each of n windows and h heads (Swin, Liu et al.,
    2021, equation 4; Uformer, Wang et al., 2022, equation 4). -inf hides a key from a query; each
    query needs a key that is not hidden.

    On a CPU a kernel keeps logits and probabilities of a window and head in cache, and makes them
    again in the backward pass, for which only the arguments are kept. Torch's own fused kernel
    is slower for short sequences, and has no gradient for the bias there. Elsewhere this is
    ``scaled_dot_product_attention``.

    Half and bfloat16 tokens are computed in float32. The bias may have another dtype than they, so
    autocast casts nothing. First derivatives only on a CPU.

    Args:
        q: (n, N, C) queries, channels laid out head by head. Like ``k`` and ``v`` it may be a view
            of a wider map whose channels are side by side.
        k: (n, M, C) keys.
        v: (n, M, C) values.
        bias: (h, N, M).
        num_heads: Heads h.

    Returns:
        (n, N, C), contiguous, dtype of ``q``.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit.
    """
    _check(q, k, v, bias, num_heads)
    if _extension.LOADED and q.device.type == "cpu":
        return torch.ops.mmext.biased_attention(q, k, v, bias, num_heads)
    return biased_attention_reference(q, k, v, bias, num_heads)


def biased_attention_reference(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor, num_heads: int
) -> Tensor:
    """Compute :func:`biased_attention` with plain differentiable torch functions, on any device.

    Test oracle, fallback, and what runs on accelerators. Takes the arguments of
    :func:`biased_attention`.
    """
    q, k, v = (t.unflatten(-1, (num_heads, -1)).transpose(1, 2) for t in (q, k, v))
    out = functional.scaled_dot_product_attention(q, k, v, bias[None].to(q.dtype))
    return out.transpose(1, 2).flatten(2)


def _check(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, num_heads: int) -> None:
    """Raise a ValueError that names the tensor which does not fit."""
    if q.dim() != 3 or k.dim() != 3:
        raise ValueError(
            f"biased_attention: q and k must be (n, N, C) and (n, M, C), got {tuple(q.shape)} and "
            f"{tuple(k.shape)}."
        )
    windows, queries, channels = q.shape
    if num_heads < 1 or channels % num_heads:
        raise ValueError(
            f"biased_attention: num_heads must divide the {channels} channels of q, got "
            f"{num_heads}."
        )
    keys = k.shape[1]
    shapes = {
        "k": (k, (windows, keys, channels)),
        "v": (v, (windows, keys, channels)),
        "bias": (bias, (num_heads, queries, keys)),
    }
    for name, (tensor, shape) in {"q": (q, tuple(q.shape)), **shapes}.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f"biased_attention: {name} must be {shape} to fit q {tuple(q.shape)}, k "
                f"{tuple(k.shape)} and {num_heads} heads, got {tuple(tensor.shape)}."
            )
        if not tensor.is_floating_point():
            raise ValueError(
                f"biased_attention: {name} must be floating point, got {tensor.dtype}."
            )
        if tensor.device != q.device:
            raise ValueError(
                f"biased_attention: {name} is on {tensor.device}, q on {q.device}; move them "
                "together."
            )


def _fake_forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, num_heads: int) -> Tensor:
    """Tell torch.compile and torch.export the shape and layout of the result."""
    return q.new_empty(q.shape)


def _fake_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, num_heads: int
) -> tuple[Tensor, ...]:
    """Tell torch.compile the shapes and layouts of the gradients."""
    return tuple(tensor.new_empty(tensor.shape) for tensor in (q, k, v, bias))


def _setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
    """Keep what the backward op needs."""
    *tensors, ctx.num_heads = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Call the backward op."""
    backward = torch.ops.mmext._biased_attention_backward
    return *backward(grad, *ctx.saved_tensors, ctx.num_heads), None


def _refuse_double_backward(ctx: Any, *grads: Tensor) -> None:
    """Say that second derivatives are missing, instead of returning none silently."""
    raise RuntimeError(
        "biased_attention has no second derivative on a CPU; "
        "mmext.ops.biased_attention.biased_attention_reference has."
    )


def _register() -> None:
    """Attach fake kernels and autograd rules to the ops of ``mmext._C``."""
    forward, backward = "mmext::biased_attention", "mmext::_biased_attention_backward"
    torch.library.register_fake(forward, _fake_forward)
    torch.library.register_fake(backward, _fake_backward)
    torch.library.register_autograd(forward, _backward, setup_context=_setup_context)
    torch.library.register_autograd(
        backward, _refuse_double_backward, setup_context=lambda ctx, inputs, output: None
    )


if _extension.LOADED:
    _register()
