"""What CPN computes on proposals: features of their own, pooled and classified."""

from itertools import pairwise
from typing import Literal

import torch
from mmcv.cnn import ConvModule, build_norm_layer
from mmcv.ops import RoIAlign
from mmdet.utils import ConfigType
from mmengine.model import BaseModule
from torch import Tensor, nn

RoIForm = Literal["hourglass", "dla"]

# Proposals that are pooled in one go outside training: bounds the memory to about 25 MB per map of
# 256 channels, where an image may have 4,900 of them.
_ROIS_AT_ONCE = 512


class RoIBranch(BaseModule):
    """A feature map for proposals, and scores from what RoIAlign pools there.

    The official code has two forms. ``hourglass``: two convolutions for the map, each of them
    normed twice (``relu(norm(conv))``, then again a norm), and a norm behind the convolution that
    takes in the whole pooled region. ``dla``: one convolution, and no norm there.

    Args:
        in_channels (int): Channels of the stack's map.
        map_channels (int): Channels of the map that is pooled.
        feat_channels (int): Channels of a pooled proposal.
        out_channels (int): Scores of a proposal.
        form (str): ``hourglass`` or ``dla``.
        roi_layer (dict): Arguments of :class:`mmcv.ops.RoIAlign`.
        norm_cfg (dict): Norm of the convolutions.
    """

    def __init__(
        self,
        in_channels: int,
        map_channels: int,
        feat_channels: int,
        out_channels: int,
        *,
        form: RoIForm,
        roi_layer: ConfigType,
        norm_cfg: ConfigType,
    ) -> None:
        super().__init__()
        if form not in ("hourglass", "dla"):
            raise ValueError(f"roi_form must be 'hourglass' or 'dla', got {form!r}.")
        deep = form == "hourglass"
        widths = [in_channels, in_channels, map_channels] if deep else [in_channels, map_channels]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            if layers:
                layers.append(nn.ReLU())
            layers.append(ConvModule(before, after, 3, padding=1, norm_cfg=norm_cfg))
            if deep:
                layers.append(build_norm_layer(norm_cfg, after)[1])
        self.features = nn.Sequential(*layers)
        self.align = RoIAlign(spatial_scale=1.0, **roi_layer)
        self.reduce = ConvModule(
            map_channels,
            feat_channels,
            self.align.output_size,
            norm_cfg=norm_cfg if deep else None,
        )
        self.out = nn.Conv2d(feat_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the map that is pooled.

        Args:
            x (Tensor): (B, in_channels, H, W).

        Returns:
            Tensor: (B, map_channels, H, W).
        """
        return self.features(x)

    def classify(self, features: Tensor, rois: Tensor) -> Tensor:
        """Score proposals.

        A batch norm in training needs two of them. Where there are fewer, and so that all
        parameters take part in every step, cells of the first image fill up; their scores are left
        out.

        Args:
            features (Tensor): (B, map_channels, H, W), from :meth:`forward`.
            rois (Tensor): (N, 5) image, x1, y1, x2, y2 in cells.

        Returns:
            Tensor: (N, out_channels) logits.
        """
        if self.training:
            filling = rois.new_tensor([0, 0, 0, 1, 1]).expand(max(2 - len(rois), 0), 5)
            return self._scores(features, torch.cat((rois, filling)))[: len(rois)]
        if not len(rois):
            return features.new_zeros(0, self.out.out_channels)
        return torch.cat([self._scores(features, part) for part in rois.split(_ROIS_AT_ONCE)])

    def _scores(self, features: Tensor, rois: Tensor) -> Tensor:
        """Pool and score, see :meth:`classify`."""
        dtype = torch.promote_types(features.dtype, torch.float32)
        # mmcv's RoIAlign on a CPU reads maps as if they were contiguous; behind a channels-last
        # network they are not.
        pooled = self.align(features.to(dtype).contiguous(), rois.to(dtype))
        return self.out(self.reduce(pooled)).flatten(1)
