"""Heat maps of corners and centres, with offsets."""

import torch
from mmcv.cnn import ConvModule
from mmdet.utils import ConfigType
from mmengine.model import bias_init_with_prob, normal_init
from torch import Tensor, nn

from mmext.detection.keypoints.corner_pool_pack import CornerPoolPack

KEYPOINTS = ("tl", "br", "ct")


class KeypointMaps(nn.Module):
    """Predict where the top-left corners, bottom-right corners and centres of objects are.

    The maps do not tell classes apart.

    Args:
        channels (int): Channels of the features.
        corner_dim (int): Channels that are pooled towards the corners.
        norm_cfg (dict): Norm of the convolutions.
    """

    def __init__(self, channels: int, *, corner_dim: int, norm_cfg: ConfigType) -> None:
        super().__init__()
        self.feats = nn.ModuleDict(
            {
                corner: CornerPoolPack(
                    channels, pool_channels=corner_dim, corner=corner, norm_cfg=norm_cfg
                )
                for corner in ("tl", "br")
            }
        )
        self.feats["ct"] = ConvModule(channels, channels, 3, padding=1, norm_cfg=norm_cfg)
        self.score_outs = nn.ModuleDict(
            {point: nn.Conv2d(channels, 1, 3, padding=1) for point in KEYPOINTS}
        )
        self.offset_outs = nn.ModuleDict(
            {point: nn.Conv2d(channels, 2, 3, padding=1) for point in KEYPOINTS}
        )

    def reset_parameters(self) -> None:
        """Draw the predictors from N(0, 0.01^2); scores start at a probability of 0.01."""
        for point in KEYPOINTS:
            normal_init(self.score_outs[point], std=0.01, bias=bias_init_with_prob(0.01))
            normal_init(self.offset_outs[point], std=0.01)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the maps.

        Args:
            x (Tensor): (B, channels, H, W).

        Returns:
            tuple[Tensor, Tensor]: Logits (B, 3, H, W) of top-left corner, bottom-right corner and
            centre, and (B, 6, H, W) x and y offset of each from its cell, in strides.
        """
        feats = {point: self.feats[point](x) for point in KEYPOINTS}
        scores = [self.score_outs[point](feats[point]) for point in KEYPOINTS]
        offsets = [self.offset_outs[point](feats[point]) for point in KEYPOINTS]
        return torch.cat(scores, 1), torch.cat(offsets, 1)
