"""The part of the CenterNet++ heads that exists twice: once per kind of quarter box."""

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmdet.utils import ConfigType, OptConfigType
from mmengine.model import bias_init_with_prob, normal_init
from torch import Tensor, nn
from torch.nn import functional as F


def conv_tower(
    in_channels: int,
    feat_channels: int,
    conv_cfgs: Sequence[OptConfigType],
    norm_cfg: ConfigType,
) -> nn.Sequential:
    """Stack 3x3 convolutions with norm and ReLU.

    Args:
        in_channels (int): Channels that come in.
        feat_channels (int): Channels of every layer.
        conv_cfgs (Sequence[dict | None]): The kind of convolution of each layer, None for a plain
            one. Deformable ones carry a bias beside the norm, as in the official checkpoints.
        norm_cfg (dict): Norm of every layer.

    Returns:
        nn.Sequential: One ``ConvModule`` per entry of ``conv_cfgs``.
    """
    channels = [in_channels] + [feat_channels] * len(conv_cfgs)
    return nn.Sequential(
        *(
            ConvModule(
                channels[i],
                feat_channels,
                3,
                padding=1,
                bias=conv_cfg is not None,
                conv_cfg=conv_cfg,
                norm_cfg=norm_cfg,
            )
            for i, conv_cfg in enumerate(conv_cfgs)
        )
    )


class QuarterBranch(nn.Module):
    """Towers and predictors for top-left or for bottom-right quarter boxes.

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Channels of the feature maps.
        feat_channels (int): Channels of the towers.
        point_feat_channels (int): Channels between the two convolutions of each predictor.
        num_points (int): Points K per set.
        tower_conv_cfgs (Sequence[dict | None]): The kind of convolution of each tower layer.
        norm_cfg (dict): Norm of the towers.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        point_feat_channels: int,
        num_points: int,
        tower_conv_cfgs: Sequence[OptConfigType],
        norm_cfg: ConfigType,
    ) -> None:
        super().__init__()
        self.cls_convs = conv_tower(in_channels, feat_channels, tower_conv_cfgs, norm_cfg)
        self.reg_convs = conv_tower(in_channels, feat_channels, tower_conv_cfgs, norm_cfg)
        self.cls_conv = nn.Conv2d(feat_channels, point_feat_channels, 3, padding=1)
        self.cls_out = nn.Conv2d(point_feat_channels, num_classes, 1)
        self.pts_init_conv = nn.Conv2d(feat_channels, point_feat_channels, 3, padding=1)
        self.pts_init_out = nn.Conv2d(point_feat_channels, 2 * num_points, 1)
        self.pts_refine_conv = nn.Conv2d(feat_channels, point_feat_channels, 3, padding=1)
        self.pts_refine_out = nn.Conv2d(point_feat_channels, 2 * num_points, 1)

    def reset_parameters(self, *, kaiming_predictors: bool, initial_box: float) -> None:
        """Draw all weights from N(0, 0.01^2); classes start at a probability of 0.01.

        Args:
            kaiming_predictors (bool): Whether the first convolution of each predictor is drawn
                from Kaiming's normal distribution instead.
            initial_box (float): Side of the quarter box that both point sets start with, around
                the cell, in strides.
        """
        for module in self.modules():
            if getattr(module, "weight", None) is not None and module.weight.ndim == 4:
                normal_init(module, std=0.01)
        nn.init.constant_(self.cls_out.bias, bias_init_with_prob(0.01))
        for module in (self.pts_init_out, self.pts_refine_out):
            nn.init.constant_(module.bias[:2], -initial_box / 2)
            nn.init.constant_(module.bias[2:4], initial_box / 2)
        if kaiming_predictors:
            for module in (self.cls_conv, self.pts_init_conv, self.pts_refine_conv):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def towers(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run both towers.

        Args:
            x (Tensor): (B, in_channels, H, W).

        Returns:
            tuple[Tensor, Tensor]: Features for classes and for boxes, (B, feat_channels, H, W).
        """
        return self.cls_convs(x), self.reg_convs(x)

    def init_points(self, reg_feat: Tensor) -> Tensor:
        """Predict the first point sets, (B, 2K, H, W), as y, x pairs in strides."""
        return self.pts_init_out(F.relu(self.pts_init_conv(reg_feat)))

    def predict(self, cls_feat: Tensor, reg_feat: Tensor) -> tuple[Tensor, Tensor]:
        """Predict classes and final point sets.

        Args:
            cls_feat (Tensor): (B, feat_channels, H, W).
            reg_feat (Tensor): (B, feat_channels, H, W).

        Returns:
            tuple[Tensor, Tensor]: Class logits (B, C, H, W) and point sets (B, 2K, H, W) as y, x
            pairs in strides relative to the cell (not to the first point sets).
        """
        cls_score = self.cls_out(F.relu(self.cls_conv(cls_feat)))
        points = self.pts_refine_out(F.relu(self.pts_refine_conv(reg_feat)))
        return cls_score, points
