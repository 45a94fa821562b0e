"""The neck that brings the levels of DLA back to one map (Objects as Points, arXiv 1904.07850)."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.utils import ConfigType
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from mmext.registry import MODELS


def bilinear_kernel(factor: int) -> Tensor:
    """Return the (2 f, 2 f) kernel with which a transposed convolution interpolates linearly."""
    place = torch.arange(2 * factor)
    line = 1 - ((place + 0.5) / factor - 1).abs()
    return line[:, None] * line


class _Aggregation(BaseModule):
    """Iterative aggregation: every map is enlarged and joined to the one before it.

    ``x_j <- node_j(up_j(proj_j(x_j)) + x_(j-1))`` for the second map, the third, and so on.

    Args:
        in_channels (Sequence[int]): Channels of the maps.
        factors (Sequence[int]): How much larger the first map is than each of the others.
        norm_cfg (dict): Norm of the convolutions.
    """

    def __init__(
        self, in_channels: Sequence[int], factors: Sequence[int], norm_cfg: ConfigType
    ) -> None:
        super().__init__()
        out = in_channels[0]
        conv = dict(kernel_size=3, padding=1, norm_cfg=norm_cfg)
        self.proj = nn.ModuleList(ConvModule(c, out, **conv) for c in in_channels[1:])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(out, out, 2 * f, stride=f, padding=f // 2, groups=out, bias=False)
            for f in factors
        )
        self.node = nn.ModuleList(ConvModule(out, out, **conv) for _ in factors)

    def init_weights(self) -> None:
        """Let the transposed convolutions interpolate linearly; they learn from there."""
        super().init_weights()
        for up in self.up:
            with torch.no_grad():
                up.weight.copy_(bilinear_kernel(up.stride[0]))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Aggregate.

        Args:
            maps (Sequence[Tensor]): (B, in_channels[j], H / factor, W / factor) maps.

        Returns:
            list[Tensor]: The first map, and the others at its size with its channels.
        """
        maps = list(maps)
        for j, (proj, up, node) in enumerate(zip(self.proj, self.up, self.node, strict=True)):
            maps[j + 1] = node(up(proj(maps[j + 1])) + maps[j])
        return maps


@MODELS.register_module()
class DLAUp(BaseModule):
    """The neck of DLA in keypoint detectors: hierarchical, then iterative aggregation.

    From xingyizhou's CenterNet (arXiv 1904.07850), with plain 3x3 convolutions in place of
    deformable ones, as in the official code of CPN. The coarsest two maps are aggregated, then the
    coarsest three, and so on; of the finest map of each round all but the coarsest input's level
    are joined at the end.

    Args:
        in_channels (Sequence[int]): Channels of the maps, each half as large as the one before.
        norm_cfg (dict): Norm of the convolutions.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (64, 128, 256, 512),
        norm_cfg: ConfigType = dict(type="BN", requires_grad=True),
    ) -> None:
        super().__init__()
        if len(in_channels) < 3:
            raise ValueError(f"DLAUp needs three maps or more, got in_channels={in_channels}.")
        channels = list(in_channels)
        self.rounds = ModuleList()  # mmengine's, which initialises its entries
        for first in range(len(channels) - 2, -1, -1):
            count = len(channels) - first - 1
            # After the first round all maps but the first have one size, twice as small.
            self.rounds.append(_Aggregation(channels[first:], [2] * count, norm_cfg))
            channels[first + 1 :] = [channels[first]] * count
        self.joined = len(in_channels) - 1
        factors = [2**j for j in range(1, self.joined)]
        self.join = _Aggregation(in_channels[: self.joined], factors, norm_cfg)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor]:
        """Aggregate the levels of a backbone.

        Args:
            feats (Sequence[Tensor]): (B, in_channels[j], H / 2^j, W / 2^j) maps.

        Returns:
            tuple[Tensor]: One (B, in_channels[0], H, W) map.
        """
        maps, finest = list(feats), [feats[-1]]
        for count, aggregation in enumerate(self.rounds, start=2):
            maps[-count:] = aggregation(maps[-count:])
            finest.insert(0, maps[-1])
        return (self.join(finest[: self.joined])[-1],)
