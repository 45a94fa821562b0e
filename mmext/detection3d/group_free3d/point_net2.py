"""PointNet++ with four set abstractions and two feature propagations."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmext.ops import (
    ball_query,
    furthest_point_sample,
    gather_points,
    group_points,
    three_interpolate,
    three_nn,
)
from mmext.registry import MODELS

LEVELS = 4


class Seeds(NamedTuple):
    """Points with features that a backbone gives.

    Attributes:
        xyz: (B, S, 3) in metres.
        features: (B, C, S).
        indices: (B, S), which points of the input they are.
        centres: (B, M, 3) in metres, the points chosen first, of which the seeds are the first S.
    """

    xyz: Tensor
    features: Tensor
    indices: Tensor
    centres: Tensor


def shared_mlp(channels: Sequence[int]) -> nn.Sequential:
    """Return layers of convolution over single points, batch norm and ReLU.

    Args:
        channels: Of the input and behind each layer.

    Returns:
        Maps (B, channels[0], M, k) to (B, channels[-1], M, k).
    """
    layers = (ConvModule(a, b, 1, norm_cfg=dict(type="BN2d")) for a, b in pairwise(channels))
    return nn.Sequential(*layers)


class SetAbstraction(nn.Module):
    """Features of balls around centres: shared layers for each neighbour, then the maximum.

    PointNet++ (arXiv 1706.02413), section 3.2, single scale. A neighbour is described by its
    offset from the centre, divided by the radius, and then by its features.

    Args:
        in_channels: Features of the points, besides their coordinates.
        channels: Of the shared layers.
        radius: Of the balls, in metres.
        num_samples: Neighbours per ball: the first that many by index; fewer are filled up.
    """

    def __init__(
        self, in_channels: int, channels: Sequence[int], radius: float, num_samples: int
    ) -> None:
        super().__init__()
        self.radius = radius
        self.num_samples = num_samples
        self.mlp = shared_mlp((3 + in_channels, *channels))

    def forward(self, xyz: Tensor, features: Tensor | None, centres: Tensor) -> Tensor:
        """Describe the neighbourhoods of centres.

        Args:
            xyz: (B, N, 3) in metres.
            features: (B, in_channels, N), or None without any.
            centres: (B, M, 3) in metres.

        Returns:
            (B, channels[-1], M).
        """
        neighbours = ball_query(0, self.radius, self.num_samples, xyz, centres)
        points = group_points(xyz.transpose(1, 2).contiguous(), neighbours)
        grouped = (points - centres.transpose(1, 2)[..., None]) / self.radius
        if features is not None:
            grouped = torch.cat((grouped, group_points(features, neighbours).to(grouped)), 1)
        return self.mlp(grouped).amax(-1)


class FeaturePropagation(nn.Module):
    """Features of few points carried to more points, joined with those already there.

    PointNet++, section 3.4: of the three nearest points, weighted by inverse distances.

    Args:
        in_channels: Of both features together.
        channels: Of the shared layers.
    """

    def __init__(self, in_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.mlp = shared_mlp((in_channels, *channels))

    def forward(self, target: Tensor, source: Tensor, skip: Tensor, features: Tensor) -> Tensor:
        """Interpolate and join.

        Args:
            target: (B, N, 3) in metres, the many points.
            source: (B, M, 3) in metres, the few.
            skip: (B, C, N), features of the many.
            features: (B, D, M), features of the few.

        Returns:
            (B, channels[-1], N).
        """
        distance, nearest = three_nn(target, source)
        weight = 1 / (distance + 1e-8)
        weight = weight / weight.sum(-1, keepdim=True)
        carried = three_interpolate(features, nearest, weight.to(features))
        return self.mlp(torch.cat((carried, skip), 1)[..., None])[..., 0]


@MODELS.register_module()
class PointNet2(BaseModule):
    """PointNet++ as in VoteNet and Group-Free-3D: seeds are the points of its second level.

    The centres of each level are chosen by furthest point sampling from those of the level before,
    and so are the first ones of the first level's: a sequence of furthest points is one of itself.
    It is computed once.

    A scene with fewer points than ``num_points`` is no error: the first point fills up.

    Args:
        in_channels: 3, and more for colour or height.
        num_points: Centres of the four levels.
        radii: Radii of their balls in metres.
        num_samples: Neighbours per ball.
        sa_channels: Shared layers of the set abstractions.
        fp_channels: Width of the feature propagations.
        out_channels: Channels of the seeds.
        width: Factor on ``sa_channels`` and ``fp_channels``: 2 is the wide form.
        skip_origin: Never choose points within 3.2 cm of the origin as centres, but for the first
            point, as the CUDA code of VoteNet and Group-Free-3D does; mmcv's does not.
        init_cfg: For mmengine.

    Raises:
        ValueError: An option does not fit the others; the message names it.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        num_points: Sequence[int] = (2048, 1024, 512, 256),
        radii: Sequence[float] = (0.2, 0.4, 0.8, 1.2),
        num_samples: Sequence[int] = (64, 32, 16, 16),
        sa_channels: Sequence[Sequence[int]] = ((64, 64, 128), *((128, 128, 256),) * 3),
        fp_channels: int = 256,
        out_channels: int = 288,
        width: int = 1,
        skip_origin: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        levels = dict(num_points=num_points, radii=radii, num_samples=num_samples)
        for name, value in (levels | dict(sa_channels=sa_channels)).items():
            if len(value) != LEVELS:
                raise ValueError(f"PointNet2.{name} is {value}: expected {LEVELS} values")
        if any(below > above for above, below in pairwise(num_points)):
            raise ValueError(
                f"PointNet2.num_points is {num_points}: each level chooses from the one before, so "
                "the numbers may not grow"
            )
        if in_channels < 3:
            raise ValueError(f"PointNet2.in_channels is {in_channels}: coordinates are 3 already")
        self.in_channels = in_channels
        self.num_points = tuple(num_points)
        self.out_channels = out_channels
        self.skip_origin = skip_origin
        self.sa = nn.ModuleList()
        before, behind = in_channels - 3, []
        for channels, radius, samples in zip(sa_channels, radii, num_samples, strict=True):
            channels = [width * c for c in channels]
            self.sa.append(SetAbstraction(before, channels, radius, samples))
            before = channels[-1]
            behind.append(before)
        hidden = width * fp_channels
        self.fp = nn.ModuleList(
            (
                FeaturePropagation(behind[3] + behind[2], (hidden, hidden)),
                FeaturePropagation(hidden + behind[1], (hidden, out_channels)),
            )
        )

    def init_weights(self) -> None:
        """Draw convolutions as the official code does, or load what ``init_cfg`` says."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        super().init_weights()

    def forward(self, points: Tensor) -> Seeds:
        """Compute seeds.

        Args:
            points: (B, N, in_channels): x, y, z in metres, then features.

        Returns:
            The points of the second level.

        Raises:
            ValueError: Another shape.
        """
        if points.ndim != 3 or points.shape[2] != self.in_channels or not points.shape[1]:
            raise ValueError(
                f"points of shape {tuple(points.shape)}: expected (batch, points, "
                f"{self.in_channels}) with at least one point, by model.backbone.in_channels"
            )
        xyz = points[..., :3].contiguous()
        features = points[..., 3:].transpose(1, 2).contiguous() if self.in_channels > 3 else None
        first = furthest_point_sample(xyz, self.num_points[0], skip_origin=self.skip_origin)
        chosen = gather_points(xyz.transpose(1, 2).contiguous(), first).transpose(1, 2).contiguous()
        centres, levels = [], []
        for layer, count in zip(self.sa, self.num_points, strict=True):
            centres.append(chosen[:, :count].contiguous())
            features = layer(xyz, features, centres[-1])
            xyz = centres[-1]
            levels.append(features)
        carried = self.fp[0](centres[2], centres[3], levels[2], levels[3])
        carried = self.fp[1](centres[1], centres[2], levels[1], carried)
        return Seeds(centres[1], carried, first[:, : self.num_points[1]], chosen)
