"""What is predicted about a candidate, once before the decoder and again behind each layer."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .coder import BoxCoder

Linear = Callable[[Tensor], Tensor]


class Stage(NamedTuple):
    """Raw predictions of one stage.

    Attributes:
        objectness: (B, O) logits.
        center: (B, O, 3) in metres.
        heading_scores: (B, O, H) logits.
        heading_residuals: (B, O, H) in units of half a bin.
        size: (B, O, 3) in metres, as the next stage sees it; may be negative.
        semantic: (B, O, K) logits.
        size_scores: (B, O, K) logits, None if sizes have no class.
        size_residuals: (B, O, K, 3) in units of the mean sizes, None likewise.
    """

    objectness: Tensor
    center: Tensor
    heading_scores: Tensor
    heading_residuals: Tensor
    size: Tensor
    semantic: Tensor
    size_scores: Tensor | None = None
    size_residuals: Tensor | None = None

    @property
    def box(self) -> Tensor:
        """(B, O, 6) centres and sizes in metres, without gradient, for position embeddings."""
        return torch.cat((self.center, self.size), -1).detach()


class TwoConvs(nn.Module):
    """Two convolutions over single points, each with batch norm and ReLU.

    Args:
        channels: Of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, channels, 1)
        self.bn1 = nn.BatchNorm1d(channels)
        self.conv2 = nn.Conv1d(channels, channels, 1)
        self.bn2 = nn.BatchNorm1d(channels)

    def shared(self, features: Tensor, first: Linear | None = None) -> Tensor:
        """Compute both layers.

        Args:
            features: (B, C, P).
            first: Takes the place of the first convolution.

        Returns:
            (B, C, P).
        """
        hidden = (self.conv1 if first is None else first)(features)
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(hidden)))))


class SeedHead(TwoConvs):
    """Scores how well a seed stands for an object (KPS, section 3.2).

    Args:
        channels: Of the seeds.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.conv3 = nn.Conv1d(channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, S) logits of (B, C, S) features."""
        return self.conv3(self.shared(features))[:, 0]


class PredictionHead(TwoConvs):
    """Predicts a box and a class for each candidate.

    Centres are relative to the candidate's point in all stages, not to the box before.

    Args:
        channels: Of the candidates' features.
        num_classes: Number of classes.
        coder: How headings and sizes are written.
    """

    def __init__(self, channels: int, num_classes: int, coder: BoxCoder) -> None:
        super().__init__(channels)
        self.coder = [coder]  # not a part of this module: all stages share it
        outputs = dict(
            objectness=1,
            center=3,
            heading_scores=coder.num_heading_bins,
            heading_residuals=coder.num_heading_bins,
            semantic=num_classes,
        )
        if coder.num_sizes:
            outputs |= dict(size_scores=coder.num_sizes, size_residuals=3 * coder.num_sizes)
        else:
            outputs["size"] = 3
        self.outputs = nn.ModuleDict(
            {name: nn.Conv1d(channels, count, 1) for name, count in outputs.items()}
        )

    def forward(self, features: Tensor, points: Tensor, *, first: Linear | None = None) -> Stage:
        """Predict.

        Args:
            features: (B, C, O).
            points: (B, O, 3) in metres, where the candidates lie.
            first: Takes the place of the first convolution, (B, C, O) to (B, C, O): weights from
                elsewhere.

        Returns:
            The predictions.
        """
        coder = self.coder[0]
        hidden = self.shared(features, first)
        out = {name: layer(hidden).transpose(1, 2) for name, layer in self.outputs.items()}
        out["objectness"] = out["objectness"][..., 0]
        out["center"] = points + out["center"]
        if coder.num_sizes:
            out["size_residuals"] = out["size_residuals"].unflatten(-1, (coder.num_sizes, 3))
            out["size"] = coder.size(out["size_scores"], out["size_residuals"])
        return Stage(**out)
