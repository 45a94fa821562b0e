"""Attention within windows, with the norms in front of it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...ops import biased_attention
from .pieces import Piece, add_in_pieces, pays, piece_numel, ranges
from .windows import WindowLayout, to_maps, to_windows


class SeparableConv(nn.Module):
    """Depth-wise 3x3 convolution, ReLU and 1x1 convolution within windows.

    One of the three projections of ``token_projection="conv"``. The official code hands its bias
    flag over as dilation, which torch 1.x read as 1 and later ones refuse; here it is a dilation of
    1 and a bias.

    Args:
        dim (int): Channels C.
        window (int): Side of a window.
    """

    def __init__(self, dim: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.depthwise = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.pointwise = nn.Conv2d(dim, dim, 1)

    def forward(self, windows: Tensor) -> Tensor:
        """Project (n, window^2, C) tokens, each window padded with zeros."""
        maps = windows.unflatten(1, (self.window, self.window)).permute(0, 3, 1, 2)
        maps = self.pointwise(functional.relu(self.depthwise(maps)))
        return maps.permute(0, 2, 3, 1).flatten(1, 2)


class LinearProjection(nn.Linear):
    """Queries, keys and values by one linear layer, rows in this order."""

    def __init__(self, dim: int, window: int) -> None:
        super().__init__(dim, 3 * dim)

    def forward(self, windows: Tensor) -> tuple[Tensor, ...]:
        """Project (n, window^2, C) tokens to three of the same shape."""
        return super().forward(windows).chunk(3, -1)


class ConvProjection(nn.Module):
    """Queries, keys and values by three separable convolutions."""

    def __init__(self, dim: int, window: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (SeparableConv(dim, window) for _ in range(3))

    def forward(self, windows: Tensor) -> tuple[Tensor, ...]:
        """Project (n, window^2, C) tokens to three of the same shape."""
        return self.q(windows), self.k(windows), self.v(windows)


PROJECTIONS: dict[str, type[nn.Module]] = {"linear": LinearProjection, "conv": ConvProjection}


class RelativePositionBias(nn.Module):
    """One learned number per head and offset between query and key (Swin).

    Args:
        window (int): Side of a window.
        num_heads (int): Heads h.
    """

    index: Tensor

    def __init__(self, window: int, num_heads: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, num_heads))
        at = torch.arange(window)
        y, x = (a.flatten() for a in torch.meshgrid(at, at, indexing="ij"))
        dy, dx = (a[:, None] - a + window - 1 for a in (y, x))
        self.register_buffer("index", (dy * (2 * window - 1) + dx).flatten(), persistent=False)

    def forward(self) -> Tensor:
        """Return the bias (h, window^2, window^2) of queries by keys."""
        tokens = round(len(self.index) ** 0.5)
        return self.table.index_select(0, self.index).T.view(-1, tokens, tokens)


class WindowAttention(nn.Module):
    """Norm, modulator and multi-head self-attention within windows.

    Uformer, sections 3.2 and 3.3.

    Args:
        dim (int): Channels C.
        num_heads (int): Heads h.
        window (int): Side of a window.
        projection (str): ``linear`` or ``conv``.
        modulator (bool): Add a learned table of (window^2, C) to the tokens of each window.
    """

    def __init__(
        self, dim: int, num_heads: int, window: int, projection: str, modulator: bool
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.modulator = nn.Parameter(torch.empty(window**2, dim)) if modulator else None
        self.qkv = PROJECTIONS[projection](dim, window)
        self.bias = RelativePositionBias(window, num_heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows.

        Args:
            windows (Tensor): (n, window^2, C).
            mask (Tensor | None): (window^2, window^2), added to the logits.

        Returns:
            Tensor: (n, window^2, C).
        """
        tokens = self.norm(windows)
        if self.modulator is not None:
            tokens = tokens + self.modulator
        bias = self.bias() if mask is None else self.bias() + mask
        return self.proj(biased_attention(*self.qkv(tokens), bias, self.num_heads))


def add_window_attention(
    x: Tensor, layer: WindowAttention, drop_path: nn.Module, layout: WindowLayout
) -> Tensor:
    """Add self-attention to maps, without gradients in pieces where that pays.

    Args:
        x (Tensor): (B, H, W, C).
        layer (WindowAttention): The layer.
        drop_path (nn.Module): What its output goes through.
        layout (WindowLayout): How the maps are cut.

    Returns:
        Tensor: (B, H, W, C).
    """
    windows = to_windows(x, layout)
    if not pays(drop_path, windows, 3 * windows.numel()):
        parts = zip(windows.split(layout.counts), layout.masks, strict=True)
        outputs = [layer(part, mask) for part, mask in parts]
        out = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
        return x + drop_path(to_maps(out, layout))
    pieces, start = [], 0
    for count, mask in zip(layout.counts, layout.masks, strict=True):
        for begin, end in ranges(count, piece_numel() // (3 * windows[0].numel())):
            where = (slice(start + begin, start + end),)
            pieces.append(Piece(source=where, target=where, args=(mask,)))
        start += count
    return to_maps(add_in_pieces(layer, windows, pieces), layout)


class TableAttention(nn.Module):
    """Attention of all tokens to a learned table, added to them (``cross_modulator``).

    Neither the tokens nor the table are normalised. (The official code computes a norm of the
    tokens and does not use it; it has no counterpart here.)

    Args:
        dim (int): Channels C.
        num_heads (int): Heads.
        window (int): The table has window^2 rows.
    """

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.table = nn.Parameter(torch.empty(window**2, dim))
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is to be added to (B, H, W, C) maps."""
        tokens = (self.q(x).flatten(0, 2), *self.kv(self.table).chunk(2, -1))
        heads = (t.unflatten(-1, (self.num_heads, -1)).transpose(0, 1)[None] for t in tokens)
        out = functional.scaled_dot_product_attention(*heads)[0]
        return self.proj(out.transpose(0, 1).flatten(1)).view(x.shape)
