"""The transformer decoder of Group-Free-3D."""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from .prediction import Linear


class PositionEmbedding(nn.Sequential):
    """Two convolutions that turn coordinates into features.

    Args:
        in_channels: Coordinates per point: 3, or 6 with a size.
        channels: Features.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__(
            nn.Conv1d(in_channels, channels, 1),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Conv1d(channels, channels, 1),
        )

    def forward(self, positions: Tensor) -> Tensor:
        """Return (B, P, channels) features of (B, P, in_channels) positions."""
        return super().forward(positions.transpose(1, 2)).transpose(1, 2)


class DecoderLayer(nn.Module):
    """Self-attention of the candidates, cross-attention to the seeds, and feed-forward layers.

    Post-norm. Positions are added to queries, keys and values alike, not to queries and keys alone
    as in DETR.

    Args:
        channels: Of queries and keys.
        num_heads: Attention heads.
        ffn_channels: Hidden channels of the feed-forward layers.
        dropout: Probability, in attention weights, within the feed-forward layers and behind each
            of the three.
    """

    def __init__(self, channels: int, num_heads: int, ffn_channels: int, dropout: float) -> None:
        super().__init__()
        self.self_posembed = PositionEmbedding(6, channels)
        self.cross_posembed = PositionEmbedding(3, channels)
        attention = dict(dropout=dropout, batch_first=True)
        self.self_attn = nn.MultiheadAttention(channels, num_heads, **attention)
        self.cross_attn = nn.MultiheadAttention(channels, num_heads, **attention)
        self.linear1 = nn.Linear(channels, ffn_channels)
        self.linear2 = nn.Linear(ffn_channels, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.norm3 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        box: Tensor,
        points: Tensor,
        *,
        hidden: Linear | None = None,
    ) -> Tensor:
        """Refine the candidates.

        Args:
            query: (B, O, C), candidates.
            key: (B, S, C), seeds.
            box: (B, O, 6), centres and sizes of the stage before, in metres.
            points: (B, S, 3), where the seeds lie, in metres.
            hidden: Takes the place of the first feed-forward layer: weights from elsewhere.

        Returns:
            (B, O, C).
        """
        position = self.self_posembed(box)
        placed = query + position
        attended = self.self_attn(placed, placed, placed, need_weights=False)[0]
        query = self.norm1(query + self.dropout(attended))
        placed, around = query + position, key + self.cross_posembed(points)
        attended = self.cross_attn(placed, around, around, need_weights=False)[0]
        query = self.norm2(query + self.dropout(attended))
        inner = (self.linear1 if hidden is None else hidden)(query)
        inner = self.linear2(self.dropout(torch.relu(inner)))
        return self.norm3(query + self.dropout(inner))


class Decoder(BaseModule):
    """The decoder's layers, and the projections of candidates and seeds in front of them.

    Group-Free-3D (arXiv 2104.00678), section 3.3.

    Args:
        channels: Of candidates and seeds.
        num_layers: Number of layers.
        num_heads: Attention heads.
        ffn_channels: Hidden channels of the feed-forward layers.
        dropout: See :class:`DecoderLayer`.
        init_cfg: For mmengine.
    """

    def __init__(
        self,
        channels: int = 288,
        *,
        num_layers: int = 6,
        num_heads: int = 8,
        ffn_channels: int = 2048,
        dropout: float = 0.1,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.query_proj = nn.Conv1d(channels, channels, 1)
        self.key_proj = nn.Conv1d(channels, channels, 1)
        self.layers = nn.ModuleList(
            DecoderLayer(channels, num_heads, ffn_channels, dropout) for _ in range(num_layers)
        )

    def init_weights(self) -> None:
        """Draw all matrices of the layers as the official code does (Xavier)."""
        for parameter in self.layers.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        super().init_weights()

    def project(self, candidates: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B, O, C) queries of (B, C, O) candidates, (B, S, C) keys of (B, C, S) seeds."""
        return self.query_proj(candidates).transpose(1, 2), self.key_proj(seeds).transpose(1, 2)
