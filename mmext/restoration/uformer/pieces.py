"""Running a layer on one piece of its input after the other, so that what it makes stays in cache.

A LeWin block widens its tokens by three (queries, keys, values) and by four (feed-forward). On a
CPU those wide maps do not fit into the cache, and the time goes into memory traffic. In pieces they
fit, and nothing wide is ever stored: the backward pass makes it again, piece by piece, which takes
less time than to read it back.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

# Numbers in the widest map of a piece, 4 MiB of float32. It also keeps malloc from asking the
# kernel for fresh pages each time.
PIECE_NUMEL = 2**20
# Wider layers spend their time in matrix products, whose operands are in cache anyway.
_MAX_CHANNELS = 128


class Piece(NamedTuple):
    """A part of the work.

    Attributes:
        source (tuple[slice, ...]): Part of the input to read.
        target (tuple[slice, ...]): Part of the output that is written.
        args (tuple): Further arguments of the layer for this piece.
    """

    source: tuple[slice, ...]
    target: tuple[slice, ...]
    args: tuple[Any, ...]


def pays(x: Tensor, wide_numel: int) -> bool:
    """Tell whether a layer is faster in pieces.

    Args:
        x (Tensor): (..., C) input of the layer.
        wide_numel (int): Numbers in the widest map that the layer makes of it.

    Returns:
        bool: Never on an accelerator, where large launches win, nor while compiling, which fuses.
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return wide_numel > PIECE_NUMEL and x.shape[-1] <= _MAX_CHANNELS


def ranges(length: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the steps through a length."""
    for begin in range(0, length, max(step, 1)):
        yield begin, min(begin + max(step, 1), length)


def run_in_pieces(layer: nn.Module, x: Tensor, pieces: Sequence[Piece]) -> Tensor:
    """Compute ``layer`` piece by piece; differentiable once, in reverse mode.

    Args:
        layer (nn.Module): Maps ``x[piece.source], *piece.args`` to ``out[piece.target]``. Draws no
            random numbers.
        x (Tensor): Input; the output has its shape.
        pieces (Sequence[Piece]): Their targets fill the output, each place once.

    Returns:
        Tensor: The output, in the dtype that the layer returns.
    """
    names, parameters = zip(*layer.named_parameters(), strict=True)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (x, *parameters)):
        return _Recomputed.apply(layer, pieces, names, x, *parameters)
    return _forward(layer, x, pieces)


def _forward(layer: nn.Module, x: Tensor, pieces: Sequence[Piece]) -> Tensor:
    out = None
    for piece in pieces:
        part = layer(x[piece.source], *piece.args)
        if out is None:
            out = part.new_empty(x.shape)
        out[piece.target] = part
    return out


class _Recomputed(torch.autograd.Function):
    """Keeps the input alone; the backward pass computes each piece again."""

    @staticmethod
    def forward(
        ctx: Any,
        layer: nn.Module,
        pieces: Sequence[Piece],
        names: tuple[str, ...],
        x: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        ctx.layer, ctx.pieces, ctx.names = layer, pieces, names
        ctx.autocast = dict(
            device_type=x.device.type,
            dtype=torch.get_autocast_dtype(x.device.type),
            enabled=torch.is_autocast_enabled(x.device.type),
        )
        ctx.save_for_backward(x, *parameters)
        return _forward(layer, x, pieces)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        x_wanted, *wanted = ctx.needs_input_grad[3:]
        # The tensors that the forward pass saw, even if the layer holds others by now.
        leaves = [p.detach().requires_grad_(w) for p, w in zip(parameters, wanted, strict=True)]
        held = dict(zip(ctx.names, leaves, strict=True))
        learning = [leaf for leaf in leaves if leaf.requires_grad]
        x_grad = torch.zeros_like(x) if x_wanted else None
        sums = [torch.zeros_like(leaf) for leaf in learning]
        for piece in ctx.pieces:
            part = x[piece.source].detach().requires_grad_(x_wanted)
            with torch.enable_grad(), torch.autocast(**ctx.autocast):
                out = functional_call(ctx.layer, held, (part, *piece.args))
            inputs = [part, *learning] if x_wanted else learning
            grads = list(torch.autograd.grad(out, inputs, grad[piece.target]))
            if x_wanted:
                x_grad[piece.source] += grads.pop(0)
            for total, one in zip(sums, grads, strict=True):
                total += one
        by_leaf = iter(sums)
        return None, None, None, x_grad, *(next(by_leaf) if w else None for w in wanted)
