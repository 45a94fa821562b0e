"""Running a layer on one piece of its input after the other, so that what it makes stays in cache.

A LeWin block widens its tokens by three (queries, keys, values) and by four (feed-forward). On a
CPU those wide maps do not fit into the cache, and the time goes into memory traffic. In pieces they
fit, and nothing wide is ever stored. Training, which has to store it, runs on whole maps.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Numbers in the widest map of a piece for each thread, 4 MiB of float32. It also keeps malloc from
# asking the kernel for fresh pages each time.
_PIECE_NUMEL = 2**20
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


def piece_numel() -> int:
    """Return how many numbers the widest map of a piece may have.

    It grows with the number of threads, so that each has as much to do before it waits for the
    others.
    """
    return _PIECE_NUMEL * torch.get_num_threads()


def pays(x: Tensor, wide_numel: int) -> bool:
    """Tell whether a layer is faster in pieces.

    Args:
        x (Tensor): (..., C) input of the layer.
        wide_numel (int): Numbers in the widest map that the layer makes of it.

    Returns:
        bool: Never in training, on an accelerator, where large launches win, or while compiling,
        which fuses.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return False
    return wide_numel > piece_numel() and x.shape[-1] <= _MAX_CHANNELS


def ranges(length: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of the steps through a length."""
    for begin in range(0, length, max(step, 1)):
        yield begin, min(begin + max(step, 1), length)


def run_in_pieces(layer: nn.Module, x: Tensor, pieces: Sequence[Piece]) -> Tensor:
    """Compute ``layer`` piece by piece, without gradients.

    Args:
        layer (nn.Module): Maps ``x[piece.source], *piece.args`` to ``out[piece.target]``. Draws no
            random numbers.
        x (Tensor): Input; the output has its shape.
        pieces (Sequence[Piece]): Their targets fill the output, each place once.

    Returns:
        Tensor: The output, in the dtype that the layer returns.
    """
    out = None
    for piece in pieces:
        part = layer(x[piece.source], *piece.args)
        if out is None:
            out = part.new_empty(x.shape)
        out[piece.target] = part
    return out
