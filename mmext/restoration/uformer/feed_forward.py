"""The feed-forward layers of a LeWin block, with the norm in front of them."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .pieces import PIECE_NUMEL, Piece, pays, ranges, run_in_pieces

_PIECE_COLUMNS = 256
_ALL = (slice(None), slice(None))


class FeedForward(nn.Module):
    """Norm, linear, GELU and linear, on each token alone (``token_mlp="ffn"``).

    Args:
        dim (int): Channels C of the tokens.
        ratio (int): Hidden channels per channel.
    """

    # How far around a token its output looks.
    halo = 0

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor, inner: tuple[slice, slice] = _ALL) -> Tensor:
        """Compute the layer on (B, H, W, C) maps.

        Args:
            x (Tensor): (B, H, W, C).
            inner (tuple[slice, slice]): Rows and columns that are wanted; the others are there
                because these depend on them.

        Returns:
            Tensor: (B, rows, columns, C).
        """
        hidden = self._mix(self.fc1(self.norm(x)), inner)
        return after_gelu(hidden, self.fc2)

    def _mix(self, hidden: Tensor, inner: tuple[slice, slice]) -> Tensor:
        return hidden[:, inner[0], inner[1]]


class LeFF(FeedForward):
    """Locally-enhanced feed-forward: a depth-wise convolution amid the hidden channels.

    Uformer, section 3.2. The convolution sees the whole map, also beyond the borders of windows.

    Args:
        dim (int): Channels C of the tokens.
        ratio (int): Hidden channels per channel.
    """

    halo = 1

    def __init__(self, dim: int, ratio: int = 4) -> None:
        super().__init__(dim, ratio)
        self.dwconv = nn.Conv2d(ratio * dim, ratio * dim, 3, padding=1, groups=ratio * dim)

    def _mix(self, hidden: Tensor, inner: tuple[slice, slice]) -> Tensor:
        # The permuted view is a map in channels-last memory, so nothing is copied.
        hidden = after_gelu(hidden.permute(0, 3, 1, 2), self.dwconv).permute(0, 2, 3, 1)
        return super()._mix(hidden, inner).contiguous()


def after_gelu(x: Tensor, layer: nn.Linear | nn.Conv2d) -> Tensor:
    """Apply GELU and a layer.

    On a CPU, training keeps ``x`` alone, and computes GELU again in the backward pass: it takes
    about as long as to store the result, and half of the wide maps need not be kept.

    Args:
        x (Tensor): What GELU takes; contiguous for a linear layer.
        layer (nn.Linear | nn.Conv2d): The layer.

    Returns:
        Tensor: ``layer(gelu(x))``.
    """
    if x.device.type != "cpu" or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return layer(functional.gelu(x))
    function = _LinearAfterGELU if isinstance(layer, nn.Linear) else _ConvAfterGELU
    return function.apply(x, layer.weight, layer.bias, layer)


class _LinearAfterGELU(torch.autograd.Function):
    """:func:`after_gelu` with a linear layer, some tokens at a time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: nn.Linear) -> Tensor:
        ctx.save_for_backward(x, weight)
        rows = x.flatten(0, -2).split(_rows_of_piece(x))
        out = torch.cat([layer(functional.gelu(part)) for part in rows])
        return out.view(*x.shape[:-1], len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        narrow = weight.to(x.dtype)  # with autocast they differ
        x_grad, weight_grad = torch.empty_like(x), torch.zeros_like(weight)
        # Views, since the input is contiguous.
        wholes = [t.flatten(0, -2) for t in (x, x_grad, grad)]
        for rows, target, part in zip(*(t.split(_rows_of_piece(x)) for t in wholes), strict=True):
            wide = functional.gelu(rows)
            weight_grad += part.mT @ wide
            torch.mm(part, narrow, out=wide)
            torch.ops.aten.gelu_backward.grad_input(wide, rows, grad_input=target)
        bias_grad = wholes[2].sum(0, dtype=weight.dtype)
        return x_grad, weight_grad, bias_grad, None


class _ConvAfterGELU(torch.autograd.Function):
    """:func:`after_gelu` with a convolution."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, layer: nn.Conv2d) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.layer = layer
        return layer(functional.gelu(x))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        wide, layer = functional.gelu(x), ctx.layer
        x_grad, weight_grad, bias_grad = torch.ops.aten.convolution_backward(
            grad,
            wide,
            weight.to(x.dtype),  # with autocast they differ
            [len(weight)],
            layer.stride,
            layer.padding,
            layer.dilation,
            False,
            [0, 0],
            layer.groups,
            [True, True, True],
        )
        torch.ops.aten.gelu_backward.grad_input(x_grad, x, grad_input=wide)
        return wide, weight_grad.to(weight.dtype), bias_grad.to(weight.dtype), None


def _rows_of_piece(x: Tensor) -> int:
    return max(PIECE_NUMEL // x.shape[-1], 1)


def feed_forward(layer: FeedForward, x: Tensor) -> Tensor:
    """Apply a feed-forward layer to maps, without gradients in pieces where that pays.

    Args:
        layer (FeedForward): The layer.
        x (Tensor): (B, H, W, C).

    Returns:
        Tensor: (B, H, W, C).
    """
    batch, height, width, _ = x.shape
    hidden = layer.fc1.out_features
    if not pays(x, batch * height * width * hidden):
        return layer(x)
    tokens = PIECE_NUMEL // hidden
    # Whole images if they are small, else parts of one whose border is short for their area.
    images = tokens // (height * width)
    columns = width if images else min(width, _PIECE_COLUMNS)
    rows = height if images else tokens // columns
    pieces = [
        _piece(layer.halo, slice(*of_images), (height, width), of_rows, of_columns)
        for of_images in ranges(batch, images)
        for of_rows in ranges(height, rows)
        for of_columns in ranges(width, columns)
    ]
    return run_in_pieces(layer, x, pieces)


def _piece(
    halo: int,
    images: slice,
    size: tuple[int, int],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> Piece:
    """Return the piece whose output is some rows and columns of some images."""
    outer, inner = [], []
    for length, (begin, end) in zip(size, (rows, columns), strict=True):
        first, last = max(begin - halo, 0), min(end + halo, length)
        outer.append(slice(first, last))
        inner.append(slice(begin - first, end - first))
    target = (images, slice(*rows), slice(*columns))
    return Piece(source=(images, *outer), target=target, args=(tuple(inner),))


FEED_FORWARDS: dict[str, type[FeedForward]] = {"leff": LeFF, "ffn": FeedForward}
