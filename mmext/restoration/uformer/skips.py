"""Attention to encoder tokens: the skips ``cross`` and ``concat_cross`` of the first Uformer.

Both come from version 1 of the paper; the second one kept concatenation only.
"""

import torch
from torch import Tensor, nn

from ...ops import biased_attention
from .attention import RelativePositionBias
from .windows import WindowLayout, to_maps, to_windows


class CrossAttention(nn.Module):
    """Attention within windows from decoder tokens to encoder tokens.

    Args:
        dim (int): Channels C of both.
        num_heads (int): Heads h.
        window (int): Side of a window.
    """

    def __init__(self, dim: int, num_heads: int, window: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = nn.LayerNorm(dim)
        self.norm_kv = nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.bias = RelativePositionBias(window, num_heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, skip: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows.

        Args:
            windows (Tensor): (n, window^2, C) decoder tokens.
            skip (Tensor): (n, window^2, C) encoder tokens of the same places.
            mask (Tensor | None): (window^2, window^2), added to the logits.

        Returns:
            Tensor: (n, window^2, C).
        """
        k, v = self.kv(self.norm_kv(skip)).chunk(2, -1)
        bias = self.bias() if mask is None else self.bias() + mask
        return self.proj(biased_attention(self.q(self.norm(windows)), k, v, bias, self.num_heads))


class ConcatCrossAttention(nn.Module):
    """Attention within windows from decoder tokens to decoder and encoder tokens together.

    Bias and mask are those of the places, the same for both halves of the keys. The official code
    repeats each of their columns beside itself instead, so that they do not line up with the keys,
    decoder first, encoder next; ``misaligned`` does the same.

    Args:
        dim (int): Channels C of both.
        num_heads (int): Heads h.
        window (int): Side of a window.
        misaligned (bool): Reproduce the official code.
    """

    def __init__(self, dim: int, num_heads: int, window: int, misaligned: bool) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.misaligned = misaligned
        self.norm = nn.LayerNorm(dim)
        self.norm_kv = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.bias = RelativePositionBias(window, num_heads)
        self.proj = nn.Linear(dim, dim)

    def forward(self, windows: Tensor, skip: Tensor, mask: Tensor | None) -> Tensor:
        """Attend within windows; arguments and result as of :class:`CrossAttention`."""
        q, *own = self.qkv(self.norm(windows)).chunk(3, -1)
        others = self.kv(self.norm_kv(skip)).chunk(2, -1)
        k, v = (torch.cat(pair, 1) for pair in zip(own, others, strict=True))
        bias = self.bias() if mask is None else self.bias() + mask
        bias = bias.repeat_interleave(2, -1) if self.misaligned else bias.repeat(1, 1, 2)
        return self.proj(biased_attention(q, k, v, bias, self.num_heads))


def cross_attention(
    layer: CrossAttention | ConcatCrossAttention, x: Tensor, skip: Tensor, layout: WindowLayout
) -> Tensor:
    """Apply attention to encoder tokens to maps.

    Args:
        layer (CrossAttention | ConcatCrossAttention): The layer.
        x (Tensor): (B, H, W, C) decoder maps.
        skip (Tensor): (B, H, W, C) encoder maps.
        layout (WindowLayout): How both are cut.

    Returns:
        Tensor: (B, H, W, C).
    """
    parts = (to_windows(maps, layout).split(layout.counts) for maps in (x, skip))
    outputs = [layer(a, b, mask) for a, b, mask in zip(*parts, layout.masks, strict=True)]
    return to_maps(torch.cat(outputs), layout)
