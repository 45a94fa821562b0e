"""A branch of the full CenterNet++ head, whose convolutions sample where points say."""

import math
from collections.abc import Sequence

import torch
from mmdet.utils import ConfigType, OptConfigType
from torch import Tensor, nn
from torch.nn import functional as F

from mmext.ops import deform_conv2d

from .quarter_branch import QuarterBranch


class GuidedConv(nn.Conv2d):
    """Convolution without bias that samples at displaced points (DCNv1), for odd kernels.

    Args:
        in_channels (int): Channels that come in.
        out_channels (int): Channels that go out.
        kernel_size (int): Points in each direction.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        )

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """Convolve.

        Args:
            x (Tensor): (B, in_channels, H, W).
            offset (Tensor): (B, 2K, H, W) y, x displacement of each kernel point, in cells.

        Returns:
            Tensor: (B, out_channels, H, W).
        """
        return deform_conv2d(x, offset, self.weight, padding=self.padding)


class GuidedBranch(QuarterBranch):
    """Branch whose predictors look where the first point set lies.

    Classes and final points come from deformable convolutions that sample at the first points, on
    features with the heat maps and offsets of the key points appended (as logits, not detached).

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Channels of the feature maps.
        feat_channels (int): Channels of the towers.
        point_feat_channels (int): Channels between the two convolutions of each predictor.
        num_points (int): Points K per set, the square of an odd number.
        hint_channels (int): Channels that are appended to the towers.
        gradient_mul (float): Share of the gradient that the first points get from the
            convolutions that they guide.
        tower_conv_cfgs (Sequence[dict | None]): The kind of convolution of each tower layer.
        norm_cfg (dict): Norm of the towers.

    Raises:
        ValueError: ``num_points`` fills no odd square kernel.
    """

    base_offset: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        point_feat_channels: int,
        num_points: int,
        hint_channels: int,
        gradient_mul: float,
        tower_conv_cfgs: Sequence[OptConfigType],
        norm_cfg: ConfigType,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            feat_channels=feat_channels,
            point_feat_channels=point_feat_channels,
            num_points=num_points,
            tower_conv_cfgs=tower_conv_cfgs,
            norm_cfg=norm_cfg,
        )
        kernel = math.isqrt(num_points)
        if kernel**2 != num_points or kernel % 2 == 0:
            raise ValueError(
                f"bbox_head.num_points={num_points}: the points are those of a square kernel of "
                "odd size, so expected 9 (3x3, as published), 25 and so on."
            )
        self.gradient_mul = gradient_mul
        channels = feat_channels + hint_channels
        self.cls_conv = GuidedConv(channels, point_feat_channels, kernel)
        self.pts_refine_conv = GuidedConv(channels, point_feat_channels, kernel)
        taps = torch.arange(kernel) - kernel // 2
        base = torch.stack(torch.meshgrid(taps, taps, indexing="ij"), -1)  # y, x; row by row
        self.register_buffer("base_offset", base.float().view(-1, 1, 1), persistent=False)

    def predict(
        self, cls_feat: Tensor, reg_feat: Tensor, hints: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Predict classes and final point sets.

        Args:
            cls_feat (Tensor): (B, feat_channels, H, W).
            reg_feat (Tensor): (B, feat_channels, H, W).
            hints (Tensor): (B, hint_channels, H, W) to append to both.
            points (Tensor): (B, 2K, H, W) first point sets.

        Returns:
            tuple[Tensor, Tensor]: Class logits (B, C, H, W) and point sets (B, 2K, H, W) as y, x
            pairs in strides relative to the cell (not to the first point sets).
        """
        # Equal to the points; only their gradient is scaled.
        guide = torch.lerp(points.detach(), points, self.gradient_mul) - self.base_offset
        cls_feat, reg_feat = (torch.cat((feat, hints), 1) for feat in (cls_feat, reg_feat))
        cls_score = self.cls_out(F.relu(self.cls_conv(cls_feat, guide)))
        final = self.pts_refine_out(F.relu(self.pts_refine_conv(reg_feat, guide)))
        return cls_score, final
