"""The real-time head of CenterNet++."""

from collections.abc import Sequence

from mmdet.models.utils import multi_apply
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptInstanceList, OptMultiConfig
from torch import Tensor, nn

from mmext.registry import MODELS

from .quarter_box_head import QuarterBoxHead
from .quarter_branch import QuarterBranch

Outputs = tuple[list[Tensor], ...]


@MODELS.register_module()
class CenterNetPlusPlusFastHead(QuarterBoxHead):
    """Head of the real-time CenterNet++ (arXiv 2204.08394; official ``PyCenterNetFastHead``).

    Two branches predict top-left and bottom-right quarter boxes at every cell. Their box towers,
    summed, also predict which classes cover the cell (the semantic maps), and an embedding of that
    sum goes back into all towers. Unlike the full head it has no heat maps of key points and no
    convolution guided by points; the first point sets serve as auxiliary loss and for assignment.

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Channels of the feature maps.
        feat_channels (int): Channels of towers and shared convolutions.
        point_feat_channels (int): Channels between the two convolutions of each predictor.
        stacked_convs (int): Plain convolutions per tower; a deformable one follows them.
        shared_stacked_convs (int): Convolutions on the sum of the two box towers.
        strides (Sequence[int]): Pixels per cell of each level, finest first.
        num_points (int): Points K per set, of which the first two are the quarter box.
        dcn_cfg (dict | None): The last convolution of each tower, None for a plain one.
        norm_cfg (dict): Norm of towers and shared convolutions.
        loss_cls (dict): Loss of the classes.
        loss_pts_init (dict): Loss of the first quarter boxes.
        loss_pts_refine (dict): Loss of the final quarter boxes.
        loss_sem (dict): Loss of the semantic maps.
        box_loss_scale (float): See :class:`QuarterBoxHead`.
        kaiming_predictors (bool): See :class:`QuarterBoxHead`.
        initial_box (float): See :class:`QuarterBoxHead`.
        train_cfg (dict | None): See :class:`QuarterBoxHead`.
        test_cfg (dict | None): See :class:`QuarterBoxHead`.
        init_cfg (dict | None): For mmengine.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 256,
        point_feat_channels: int = 256,
        stacked_convs: int = 1,
        shared_stacked_convs: int = 1,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        num_points: int = 9,
        dcn_cfg: OptConfigType = dict(type="mmext.DCNv2", deform_groups=1),
        norm_cfg: ConfigType = dict(type="GN", num_groups=32, requires_grad=True),
        loss_cls: ConfigType = dict(
            type="mmdet.FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
        ),
        loss_pts_init: ConfigType = dict(type="mmext.PlusOneGIoULoss", loss_weight=1.0),
        loss_pts_refine: ConfigType = dict(type="mmext.PlusOneGIoULoss", loss_weight=2.0),
        loss_sem: ConfigType = dict(type="mmext.SeparateFocalLoss", loss_weight=0.1),
        box_loss_scale: float = 4.0,
        kaiming_predictors: bool = False,
        initial_box: float = 0.0,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            feat_channels=feat_channels,
            shared_stacked_convs=shared_stacked_convs,
            strides=strides,
            norm_cfg=norm_cfg,
            loss_cls=loss_cls,
            loss_pts_init=loss_pts_init,
            loss_pts_refine=loss_pts_refine,
            loss_sem=loss_sem,
            box_loss_scale=box_loss_scale,
            kaiming_predictors=kaiming_predictors,
            initial_box=initial_box,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )
        self.branches = nn.ModuleDict(
            {
                side: QuarterBranch(
                    num_classes=num_classes,
                    in_channels=in_channels,
                    feat_channels=feat_channels,
                    point_feat_channels=point_feat_channels,
                    num_points=num_points,
                    tower_conv_cfgs=[None] * stacked_convs + [dcn_cfg],
                    norm_cfg=norm_cfg,
                )
                for side in ("tl", "br")
            }
        )

    def forward(self, feats: Sequence[Tensor]) -> Outputs:
        """Predict on all levels with shared weights.

        Args:
            feats (Sequence[Tensor]): One (B, in_channels, H, W) map per level.

        Returns:
            tuple[list[Tensor], ...]: Seven lists over levels: class logits (B, C, H, W) of the
            top-left and the bottom-right branch, their first point sets (B, 2K, H, W), their final
            point sets, and semantic logits (B, C, H, W). Point sets are y, x pairs in strides.
        """
        self.check_levels(feats)
        return multi_apply(self.forward_single, feats)

    def forward_single(self, x: Tensor) -> tuple[Tensor, ...]:
        """Predict on one level, see :meth:`forward`."""
        tl, br = self.branches["tl"], self.branches["br"]
        tl_cls_feat, tl_reg_feat = tl.towers(x)
        br_cls_feat, br_reg_feat = br.towers(x)
        shared = self.shared_convs(tl_reg_feat + br_reg_feat)
        sem_scores = self.sem_out(shared)
        embedding = self.sem_embedding(shared)

        tl_reg_feat, br_reg_feat = tl_reg_feat + embedding, br_reg_feat + embedding
        tl_cls, tl_pts = tl.predict(tl_cls_feat + embedding, tl_reg_feat)
        br_cls, br_pts = br.predict(br_cls_feat + embedding, br_reg_feat)
        tl_init, br_init = tl.init_points(tl_reg_feat), br.init_points(br_reg_feat)
        return tl_cls, br_cls, tl_init, br_init, tl_pts, br_pts, sem_scores

    def loss_by_feat(
        self,
        tl_cls_scores: list[Tensor],
        br_cls_scores: list[Tensor],
        tl_pts_init: list[Tensor],
        br_pts_init: list[Tensor],
        tl_pts_refine: list[Tensor],
        br_pts_refine: list[Tensor],
        sem_scores: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, list[Tensor] | Tensor]:
        """Losses from the outputs of :meth:`forward`.

        Args:
            tl_cls_scores (list[Tensor]): See :meth:`forward`.
            br_cls_scores (list[Tensor]): See :meth:`forward`.
            tl_pts_init (list[Tensor]): See :meth:`forward`.
            br_pts_init (list[Tensor]): See :meth:`forward`.
            tl_pts_refine (list[Tensor]): See :meth:`forward`.
            br_pts_refine (list[Tensor]): See :meth:`forward`.
            sem_scores (list[Tensor]): See :meth:`forward`.
            batch_gt_instances (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
            batch_img_metas (list[dict]): ``pad_shape`` of each image.
            batch_gt_instances_ignore (list[InstanceData] | None): Not used, as in the official
                code: cells on ignored objects count as background.

        Returns:
            dict: See :meth:`QuarterBoxHead.quarter_losses`.
        """
        return self.quarter_losses(
            (tl_cls_scores, br_cls_scores),
            (tl_pts_init, br_pts_init),
            (tl_pts_refine, br_pts_refine),
            sem_scores,
            batch_gt_instances,
            batch_img_metas,
        )

    def predict_by_feat(
        self,
        tl_cls_scores: list[Tensor],
        br_cls_scores: list[Tensor],
        tl_pts_init: list[Tensor],
        br_pts_init: list[Tensor],
        tl_pts_refine: list[Tensor],
        br_pts_refine: list[Tensor],
        sem_scores: list[Tensor],
        batch_img_metas: list[dict],
        cfg: OptConfigType = None,
        rescale: bool = False,
    ) -> InstanceList:
        """Detections from the outputs of :meth:`forward`.

        Args:
            tl_cls_scores (list[Tensor]): See :meth:`forward`.
            br_cls_scores (list[Tensor]): See :meth:`forward`.
            tl_pts_init (list[Tensor]): Not used.
            br_pts_init (list[Tensor]): Not used.
            tl_pts_refine (list[Tensor]): See :meth:`forward`.
            br_pts_refine (list[Tensor]): See :meth:`forward`.
            sem_scores (list[Tensor]): Not used.
            batch_img_metas (list[dict]): ``img_shape`` and, if ``rescale``, ``scale_factor``.
            cfg (dict | None): Replaces ``test_cfg``.
            rescale (bool): Whether boxes go back to the original image.

        Returns:
            list[InstanceData]: ``bboxes`` (K, 4), ``scores`` (K,) and ``labels`` (K,) per image.
        """
        cfg = self.test_cfg if cfg is None else cfg
        quarters = [
            self.candidates(cls_scores, points, batch_img_metas, cfg)[:2]
            for cls_scores, points in (
                (tl_cls_scores, tl_pts_refine),
                (br_cls_scores, br_pts_refine),
            )
        ]
        return self.detect(*quarters, batch_img_metas, cfg, rescale)
