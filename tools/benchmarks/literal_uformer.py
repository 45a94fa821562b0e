"""Uformer as its official code computes it, in official names: the baseline of ``uformer.py``.

Written from a description of the official flow: tokens are rolled, copied into windows and back;
the mask of shifted windows is made in every block of every call; queries and keys with values are
two products; logits and probabilities are stored; sides are equal and multiples of 128, other
images go into the middle of a black square. Only what T, S and B need, and the attention mask for
padding that version 1 had.
"""

import torch
from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 8
DEPTHS = {"T": (2,) * 9, "S": (2,) * 9, "B": (1, 2, 8, 8, 2, 8, 8, 2, 1)}


def partition(x: Tensor) -> Tensor:
    """Copy (B, H, W, C) into windows (n, 8, 8, C)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, WINDOW, WINDOW, channels)


def merge(windows: Tensor, side: int) -> Tensor:
    """Copy windows (n, 8, 8, C) back into (B, side, side, C)."""
    count = side // WINDOW
    x = windows.view(-1, count, count, WINDOW, WINDOW, windows.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, side, side, windows.shape[-1])


def pairs_apart(labels: Tensor) -> Tensor:
    """Return the mask of windows (n, 64) of labels: -100 where two tokens have different ones."""
    apart = labels.unsqueeze(1) - labels.unsqueeze(2)
    return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)


def shift_mask(side: int, shift: int) -> Tensor:
    """Return the mask (windows, 64, 64) of shifted windows."""
    labels = torch.zeros(1, side, side, 1)
    slices = (slice(0, -WINDOW), slice(-WINDOW, -shift), slice(-shift, None))
    number = 0
    for rows in slices:
        for columns in slices:
            labels[:, rows, columns, :] = number
            number += 1
    return pairs_apart(partition(labels).view(-1, WINDOW * WINDOW))


def padding_mask(padding: Tensor, side: int) -> Tensor:
    """Return version 1's mask (windows, 64, 64) of a (1, 1, H, W) map that is 1 at padding."""
    padding = functional.interpolate(padding, size=(side, side)).permute(0, 2, 3, 1)
    windows = partition(padding).view(-1, WINDOW * WINDOW)
    both = windows.unsqueeze(2) * windows.unsqueeze(1)
    return both.masked_fill(both != 0, -100.0)


class Projections(nn.Module):
    """Queries, and keys with values."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(dim, dim)
        self.to_kv = nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Project (n, 64, C) tokens."""
        n, tokens, dim = x.shape
        head = dim // self.num_heads
        q = self.to_q(x).reshape(n, tokens, 1, self.num_heads, head).permute(2, 0, 3, 1, 4)
        kv = self.to_kv(x).reshape(n, tokens, 2, self.num_heads, head).permute(2, 0, 3, 1, 4)
        return q[0], kv[0], kv[1]


class Attention(nn.Module):
    """Attention within windows, step by step."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * WINDOW - 1) ** 2, num_heads)
        )
        at = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij"))
        offset = at.flatten(1)[:, :, None] - at.flatten(1)[:, None] + WINDOW - 1
        self.register_buffer("relative_position_index", offset[0] * (2 * WINDOW - 1) + offset[1])
        self.qkv = Projections(dim, num_heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within (n, 64, C) windows."""
        n, tokens, dim = x.shape
        q, k, v = self.qkv(x)
        attention = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.view(-1)]
        bias = bias.view(tokens, tokens, -1).permute(2, 0, 1).contiguous()
        attention = attention + bias.unsqueeze(0)
        if mask is not None:
            count = len(mask)
            attention = attention.view(n // count, count, self.num_heads, tokens, tokens)
            attention = attention + mask.unsqueeze(1).unsqueeze(0)
            attention = attention.view(-1, self.num_heads, tokens, tokens)
        attention = attention.softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(n, tokens, dim))


class FeedForward(nn.Module):
    """Locally-enhanced feed-forward on tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = 4 * dim
        self.linear1 = nn.Sequential(nn.Linear(dim, hidden), nn.GELU())
        conv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.dwconv = nn.Sequential(conv, nn.GELU())
        self.linear2 = nn.Sequential(nn.Linear(hidden, dim))

    def forward(self, x: Tensor, side: int) -> Tensor:
        """Compute (B, side^2, C) tokens."""
        hidden = self.linear1(x).unflatten(1, (side, side)).permute(0, 3, 1, 2)
        return self.linear2(self.dwconv(hidden).permute(0, 2, 3, 1).flatten(1, 2))


class Block(nn.Module):
    """LeWin block on (B, L, C) tokens."""

    def __init__(
        self, dim: int, num_heads: int, shift: int, modulator: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.shift = shift
        self.modulator = nn.Embedding(WINDOW * WINDOW, dim) if modulator else None
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim)

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Compute the block; ``padding`` as in :func:`padding_mask`."""
        batch, length, dim = x.shape
        side = round(length**0.5)
        mask = None if padding is None else padding_mask(padding, side)
        if self.shift:
            shifted = shift_mask(side, self.shift).to(x)
            mask = shifted if mask is None else mask + shifted
        y = self.norm1(x).view(batch, side, side, dim)
        if self.shift:
            y = torch.roll(y, (-self.shift, -self.shift), (1, 2))
        windows = partition(y).view(-1, WINDOW * WINDOW, dim)
        if self.modulator is not None:
            windows = windows + self.modulator.weight
        y = merge(self.attn(windows, mask).view(-1, WINDOW, WINDOW, dim), side)
        if self.shift:
            y = torch.roll(y, (self.shift, self.shift), (1, 2))
        x = x + self.drop_path(y.view(batch, length, dim))
        return x + self.drop_path(self.mlp(self.norm2(x), side))


class Stage(nn.Module):
    """Blocks of one resolution."""

    def __init__(
        self, dim: int, num_heads: int, shift: bool, modulator: bool, rates: list[float]
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, num_heads, WINDOW // 2 * (shift and i % 2), modulator, rate)
            for i, rate in enumerate(rates)
        )

    def forward(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """Apply the blocks."""
        for block in self.blocks:
            x = block(x, padding)
        return x


class Resample(nn.Module):
    """A convolution on (B, L, C) tokens, which are copied to a map and back."""

    def __init__(self, name: str, conv: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, nn.Sequential(conv))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution."""
        batch, length, dim = x.shape
        side = round(length**0.5)
        maps = x.transpose(1, 2).contiguous().view(batch, dim, side, side)
        return getattr(self, self.name)(maps).flatten(2).transpose(1, 2).contiguous()


class LiteralUformer(nn.Module):
    """The official Uformer.

    Args:
        arch: ``T``, ``S`` or ``B``.
        img_size: Side of the training patches; 128 leaves the bottleneck without shift.
        shift: Shift the windows of every other block.
        modulator: Tables that are added to the windows of decoder blocks.
        drop_path: Highest probability of leaving a branch out.
    """

    def __init__(
        self,
        arch: str,
        *,
        img_size: int = 128,
        shift: bool = True,
        modulator: bool = True,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        dim, depths = (16 if arch == "T" else 32), DEPTHS[arch]
        encoder = torch.linspace(0, drop_path, sum(depths[:4])).tolist()
        rates = encoder + [drop_path] * depths[4] + encoder[::-1]
        conv = nn.Conv2d(3, dim, 3, padding=1)
        self.input_proj = nn.Module()
        self.input_proj.proj = nn.Sequential(conv, nn.LeakyReLU())
        for i, depth in enumerate(depths):
            level = min(i, 8 - i)
            wide = 2 if i > 4 else 1
            width = dim * wide * 2**level
            name = f"encoderlayer_{i}" if i < 4 else "conv" if i == 4 else f"decoderlayer_{i - 5}"
            shifts = shift and img_size >> level > WINDOW
            taken, rates = rates[:depth], rates[depth:]
            stage = Stage(width, wide * 2**level, shifts, modulator and i > 4, taken)
            self.add_module(name, stage)
        for i in range(4):
            down = nn.Conv2d(dim << i, dim << i + 1, 4, stride=2, padding=1)
            self.add_module(f"dowsample_{i}", Resample("conv", down))
            below = (dim << 4) if i == 0 else dim << 5 - i
            up = nn.ConvTranspose2d(below, dim << 3 - i, 2, stride=2)
            self.add_module(f"upsample_{i}", Resample("deconv", up))
        self.output_proj = nn.Module()
        self.output_proj.proj = nn.Sequential(nn.Conv2d(2 * dim, 3, 3, padding=1))

    def forward(self, image: Tensor, padding: Tensor | None = None) -> Tensor:
        """Restore (B, 3, S, S) images; ``padding`` as in :func:`padding_mask`."""
        x = self.input_proj.proj(image).flatten(2).transpose(1, 2).contiguous()
        skips = []
        for i in range(4):
            x = getattr(self, f"encoderlayer_{i}")(x, padding)
            skips.append(x)
            x = getattr(self, f"dowsample_{i}")(x)
        x = self.conv(x, padding)
        for i in range(4):
            x = torch.cat((getattr(self, f"upsample_{i}")(x), skips.pop()), -1)
            x = getattr(self, f"decoderlayer_{i}")(x, padding)
        batch, _, dim = x.shape
        maps = x.transpose(1, 2).view(batch, dim, *image.shape[2:])
        return image + self.output_proj.proj(maps)


def on_square_canvas(network: LiteralUformer, image: Tensor) -> Tensor:
    """Restore (B, 3, H, W) images of any size as the official test scripts do."""
    height, width = image.shape[2:]
    side = -(-max(height, width) // 128) * 128
    top, left = (side - height) // 2, (side - width) // 2
    canvas = image.new_zeros(len(image), 3, side, side)
    canvas[:, :, top : top + height, left : left + width] = image
    return network(canvas)[:, :, top : top + height, left : left + width]
