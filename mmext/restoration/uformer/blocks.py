"""The blocks that Uformer is made of, on maps with channels last."""

from mmcv.cnn.bricks import DropPath
from torch import Tensor, nn

from .attention import TableAttention, WindowAttention, add_window_attention
from .feed_forward import FEED_FORWARDS, add_feed_forward
from .skips import ConcatCrossAttention, CrossAttention, cross_attention
from .windows import window_layout


class LeWinBlock(nn.Module):
    """LeWin transformer block: attention within windows, then a feed-forward layer.

    Uformer, section 3.2; with ``skip`` the decoder blocks of version 1 of the paper.

    Args:
        dim (int): Channels C.
        num_heads (int): Heads of the attention.
        window (int): Side of a window.
        shift (int): Tokens by which windows are moved down and to the right, 0 or half a window.
        mlp_ratio (int): Hidden channels of the feed-forward layer per channel.
        token_projection (str): ``linear`` or ``conv``.
        token_mlp (str): ``leff`` or ``ffn``.
        drop_path (float): Probability of leaving a branch out in training.
        modulator (bool): Add a learned table to the tokens of each window.
        cross_modulator (bool): Attend to a learned table first.
        skip (str | None): None, ``cross`` or ``concat_cross``: how encoder tokens come in.
        misaligned (bool): See :class:`~.skips.ConcatCrossAttention`.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_heads: int,
        window: int,
        shift: int,
        mlp_ratio: int,
        token_projection: str,
        token_mlp: str,
        drop_path: float,
        modulator: bool = False,
        cross_modulator: bool = False,
        skip: str | None = None,
        misaligned: bool = False,
    ) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.cross_modulator = TableAttention(dim, num_heads, window) if cross_modulator else None
        self.attn = self.cross_attn = None
        if skip != "concat_cross":
            self.attn = WindowAttention(dim, num_heads, window, token_projection, modulator)
        if skip == "cross":
            self.cross_attn = CrossAttention(dim, num_heads, window)
        elif skip == "concat_cross":
            self.cross_attn = ConcatCrossAttention(dim, num_heads, window, misaligned)
        self.ffn = FEED_FORWARDS[token_mlp](dim, mlp_ratio)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """Compute the block.

        Args:
            x (Tensor): (B, H, W, C).
            skip (Tensor | None): (B, H, W, C) encoder maps, for a block that takes them.

        Returns:
            Tensor: (B, H, W, C).
        """
        layout = window_layout(tuple(x.shape[:3]), self.window, self.shift, x.device)
        if self.cross_modulator is not None:
            x = x + self.cross_modulator(x)
        if self.attn is not None:
            x = add_window_attention(x, self.attn, self.drop_path, layout)
        if self.cross_attn is not None:
            x = x + self.drop_path(cross_attention(self.cross_attn, x, skip, layout))
        return add_feed_forward(x, self.ffn, self.drop_path)
