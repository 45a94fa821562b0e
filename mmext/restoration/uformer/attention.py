"""Attention within windows, with the norms in front of it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .pieces import Piece, pays, piece_numel, ranges, run_in_pieces
from .windows import WindowLayout, to_maps, to_windows


def attend(q: Tensor, k: Tensor, v: Tensor, num_heads: int, bias: Tensor | None = None) -> Tensor:
    """Multi-head attention on tokens whose channels are laid out head by head.

    Args:
        q (Tensor): (n, N, C).
        k (Tensor): (n, M, C).
        v (Tensor): (n, M, C).
        num_heads (int): Heads h.
        bias (Tensor | None): (h, N, M), added to the logits.

    Returns:
        Tensor: (n, N, C).
    """
    learns = bias is not None and bias.requires_grad and torch.is_grad_enabled()
    if learns and q.device.type == "cpu" and not torch.compiler.is_compiling():
        return _LearnedBiasAttention.apply(q, k, v, bias, num_heads)
    return _attend(q, k, v, num_heads, bias)


def _split_heads(tokens: Tensor, num_heads: int) -> Tensor:
    """View (n, N, C) as (n, h, N, C / h)."""
    return tokens.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def _attend(q: Tensor, k: Tensor, v: Tensor, num_heads: int, bias: Tensor | None) -> Tensor:
    q, k, v = (_split_heads(tokens, num_heads) for tokens in (q, k, v))
    mask = None if bias is None else bias[None].to(q.dtype)
    out = functional.scaled_dot_product_attention(q, k, v, mask)
    return out.transpose(1, 2).flatten(2)


class _LearnedBiasAttention(torch.autograd.Function):
    """Attention whose bias learns; for CPUs.

    torch's fused kernel has no gradient for the bias there, and what replaces it stores logits and
    probabilities several times over. Here the forward pass is the fused one, and the backward pass
    makes the probabilities again, for some windows at a time.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, num_heads: int) -> Tensor:
        ctx.num_heads = num_heads
        ctx.save_for_backward(q, k, v, bias)
        # The fused kernel is not taken for a bias that requires a gradient, wanted here or not.
        return _attend(q, k, v, num_heads, bias.detach())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        *tokens, bias = ctx.saved_tensors
        grads = [torch.empty_like(t) for t in tokens]
        bias_grad = torch.zeros_like(bias)
        for begin, end in ranges(len(grad), piece_numel() // bias.numel()):
            part = slice(begin, end)
            q, k, v, out_grad = (
                _split_heads(t[part], ctx.num_heads).flatten(0, 1) for t in (*tokens, grad)
            )
            scale = q.shape[-1] ** -0.5
            # In the dtype of the bias, at least float32, whatever the tokens are.
            logits = torch.bmm(q, k.mT).view(-1, *bias.shape)
            wide = torch.add(bias, logits, alpha=scale).softmax(-1).flatten(0, 1)
            logits_grad = torch._softmax_backward_data(
                torch.bmm(out_grad, v.mT).to(bias.dtype), wide, -1, bias.dtype
            )
            bias_grad += logits_grad.view(-1, *bias.shape).sum(0)
            logits_grad = logits_grad.to(q.dtype)
            parts = (
                torch.bmm(logits_grad, k).mul_(scale),
                torch.bmm(logits_grad.mT, q).mul_(scale),
                torch.bmm(wide.to(q.dtype).mT, out_grad),
            )
            for whole, one in zip(grads, parts, strict=True):
                one = one.unflatten(0, (-1, ctx.num_heads))
                _split_heads(whole[part], ctx.num_heads).copy_(one)
        return *grads, bias_grad, None


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
        return self.proj(attend(*self.qkv(tokens), self.num_heads, bias))


def window_attention(layer: WindowAttention, x: Tensor, layout: WindowLayout) -> Tensor:
    """Apply self-attention to maps, without gradients in pieces where that pays.

    Args:
        layer (WindowAttention): The layer.
        x (Tensor): (B, H, W, C).
        layout (WindowLayout): How the maps are cut.

    Returns:
        Tensor: (B, H, W, C).
    """
    windows = to_windows(x, layout)
    if not pays(windows, 3 * windows.numel()):
        parts = zip(windows.split(layout.counts), layout.masks, strict=True)
        outputs = [layer(part, mask) for part, mask in parts]
        return to_maps(outputs[0] if len(outputs) == 1 else torch.cat(outputs), layout)
    pieces, start = [], 0
    for count, mask in zip(layout.counts, layout.masks, strict=True):
        for begin, end in ranges(count, piece_numel() // (3 * windows[0].numel())):
            where = (slice(start + begin, start + end),)
            pieces.append(Piece(source=where, target=where, args=(mask,)))
        start += count
    return to_maps(run_in_pieces(layer, windows, pieces), layout)


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
        k, v = self.kv(self.table)[None].chunk(2, -1)
        out = attend(self.q(x.reshape(1, -1, x.shape[-1])), k, v, self.num_heads)
        return self.proj(out).view(x.shape)
