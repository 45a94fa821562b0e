"""Weights of a layer out of an embedding."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

# What the generated weights are at first: those of a linear layer, or a constant.
Start = Literal["linear", "one", "zero"]


class WeightGenerator(nn.Module):
    """Makes a matrix from an embedding in two steps: a small vector per column, then the column.

    One linear map from the embedding to all weights would have ``out * in * d_z`` parameters; this
    has ``in * d_h * (d_z + 1) + out * (d_h + 1)``.

    Args:
        in_channels: Columns of the matrix.
        out_channels: Rows of the matrix.
        embed_channels: Of the embedding, d_z.
        hidden_channels: Of the small vectors, d_h.
        start: ``linear``: random weights as of a linear layer (Xavier). ``one``, ``zero``: that
            constant, with random changes of 1 % of a linear layer's weights.
        exact: Let ``one`` and ``zero`` be exact, without these changes. Embeddings then learn from
            the second step on.
        bounded: Return ``1 + tanh``: between 0 and 2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        embed_channels: int,
        hidden_channels: int,
        start: Start,
        exact: bool = False,
        bounded: bool = False,
    ) -> None:
        super().__init__()
        size = (in_channels, hidden_channels, embed_channels)
        # Embeddings have a length of about 1. The hidden vectors are of size 1, half of it their
        # own and half from the embedding.
        self.hidden_weight = nn.Parameter(torch.randn(size) * math.sqrt(0.5))
        self.hidden_bias = nn.Parameter(torch.randn(size[:2]) * math.sqrt(0.5))
        deviation = math.sqrt(2 / (in_channels + out_channels) / hidden_channels)
        if start != "linear":
            deviation *= 0 if exact else 0.01
        self.weight = nn.Parameter(torch.randn(out_channels, hidden_channels) * deviation)
        # tanh adds the 1 itself.
        constant = float(start == "one" and not bounded)
        self.bias = nn.Parameter(torch.full((out_channels,), constant))
        self.bounded = bounded

    def forward(self, embedding: Tensor) -> Tensor:
        """Return (..., out, in) weights for (..., d_z) embeddings."""
        hidden = torch.einsum("jhd,...d->...jh", self.hidden_weight, embedding) + self.hidden_bias
        weight = torch.einsum("oh,...jh->...oj", self.weight, hidden) + self.bias[:, None]
        return 1 + weight.tanh() if self.bounded else weight
