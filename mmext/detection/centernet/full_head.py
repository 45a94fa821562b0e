"""The full head of CenterNet++."""

from collections.abc import Sequence

import torch
from mmdet.models.utils import multi_apply
from mmdet.utils import (
    ConfigType,
    InstanceList,
    OptConfigType,
    OptInstanceList,
    OptMultiConfig,
    reduce_mean,
)
from torch import Tensor, nn

from mmext.registry import MODELS

from ..keypoints.instances import usable_instances
from .guided_branch import GuidedBranch
from .keypoint_lookup import move_to_keypoints
from .keypoint_maps import KEYPOINTS, KeypointMaps
from .keypoint_targets import keypoint_targets
from .quarter_box_head import QuarterBoxHead
from .quarter_boxes import clamp_boxes, flatten_levels

Outputs = tuple[list[Tensor], ...]

TL, BR, CT = range(len(KEYPOINTS))


@MODELS.register_module()
class CenterNetPlusPlusHead(QuarterBoxHead):
    """Full head of the multi-resolution CenterNet++ (arXiv 2204.08394; ``PyCenterNetHead``).

    To what :class:`CenterNetPlusPlusFastHead` does it adds heat maps of corners and centres, made
    by corner pooling. They go into the predictors of the quarter boxes, whose convolutions sample
    at the first point sets, and at test time they replace corners and centres of coarse levels.

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Channels of the feature maps.
        feat_channels (int): Channels of towers and shared convolutions.
        point_feat_channels (int): Channels between the two convolutions of each predictor.
        stacked_convs (int): Convolutions per tower.
        shared_stacked_convs (int): Convolutions on the sum of the two box towers.
        corner_dim (int): Channels of the corner pools.
        strides (Sequence[int]): Pixels per cell of each level, finest first.
        num_points (int): Points K per set, the square of an odd number, of which the first two are
            the quarter box.
        gradient_mul (float): Share of the gradient that the first points get from the convolutions
            that they guide.
        dcn_cfg (dict | None): The convolutions of the towers, None for plain ones. All published
            models have deformable ones.
        norm_cfg (dict): Norm of all convolutions but the predictors.
        loss_cls (dict): Loss of the classes.
        loss_pts_init (dict): Loss of the first quarter boxes.
        loss_pts_refine (dict): Loss of the final quarter boxes.
        loss_heatmap (dict): Loss of the heat maps, on probabilities.
        loss_offset (dict): Loss of the offsets, in strides.
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
        stacked_convs: int = 3,
        shared_stacked_convs: int = 1,
        corner_dim: int = 64,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        num_points: int = 9,
        gradient_mul: float = 0.1,
        dcn_cfg: OptConfigType = dict(type="mmext.DCNv2", deform_groups=1),
        norm_cfg: ConfigType = dict(type="GN", num_groups=32, requires_grad=True),
        loss_cls: ConfigType = dict(
            type="mmdet.FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0
        ),
        loss_pts_init: ConfigType = dict(type="mmext.PlusOneGIoULoss", loss_weight=1.0),
        loss_pts_refine: ConfigType = dict(type="mmext.PlusOneGIoULoss", loss_weight=2.0),
        loss_heatmap: ConfigType = dict(
            type="mmdet.GaussianFocalLoss", alpha=2.0, gamma=4.0, loss_weight=0.25
        ),
        loss_offset: ConfigType = dict(type="mmdet.SmoothL1Loss", beta=1 / 9, loss_weight=1.0),
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
        self.loss_heatmap = MODELS.build(loss_heatmap)
        self.loss_offset = MODELS.build(loss_offset)
        self.branches = nn.ModuleDict(
            {
                side: GuidedBranch(
                    num_classes=num_classes,
                    in_channels=in_channels,
                    feat_channels=feat_channels,
                    point_feat_channels=point_feat_channels,
                    num_points=num_points,
                    hint_channels=3 * len(KEYPOINTS),
                    gradient_mul=gradient_mul,
                    tower_conv_cfgs=[dcn_cfg] * stacked_convs,
                    norm_cfg=norm_cfg,
                )
                for side in ("tl", "br")
            }
        )
        self.keypoints = KeypointMaps(feat_channels, corner_dim=corner_dim, norm_cfg=norm_cfg)

    def init_weights(self) -> None:
        """Initialise as the official code does.

        As :meth:`QuarterBoxHead.init_weights`, and the predictors of the key points likewise; the
        convolutions before those keep the defaults of ``ConvModule`` and torch.
        """
        self.keypoints.reset_parameters()
        super().init_weights()

    def forward(self, feats: Sequence[Tensor]) -> Outputs:
        """Predict on all levels with shared weights.

        Args:
            feats (Sequence[Tensor]): One (B, in_channels, H, W) map per level.

        Returns:
            tuple[list[Tensor], ...]: Nine lists over levels: class logits (B, C, H, W) of the
            top-left and the bottom-right branch, their first point sets (B, 2K, H, W), their final
            point sets, logits (B, 3, H, W) of the heat maps of top-left corner, bottom-right corner
            and centre, their offsets (B, 6, H, W), and semantic logits (B, C, H, W). Point sets
            are y, x pairs, offsets x, y pairs, in strides.

        Raises:
            ValueError: The number of feature maps is not that of the strides.
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
        hm_scores, hm_offsets = self.keypoints(shared + embedding)
        hints = torch.cat((hm_scores, hm_offsets), 1)

        tl_reg_feat, br_reg_feat = tl_reg_feat + embedding, br_reg_feat + embedding
        tl_init, br_init = tl.init_points(tl_reg_feat), br.init_points(br_reg_feat)
        tl_cls, tl_pts = tl.predict(tl_cls_feat + embedding, tl_reg_feat, hints, tl_init)
        br_cls, br_pts = br.predict(br_cls_feat + embedding, br_reg_feat, hints, br_init)
        return (
            tl_cls,
            br_cls,
            tl_init,
            br_init,
            tl_pts,
            br_pts,
            hm_scores,
            hm_offsets,
            sem_scores,
        )

    def loss_by_feat(
        self,
        tl_cls_scores: list[Tensor],
        br_cls_scores: list[Tensor],
        tl_pts_init: list[Tensor],
        br_pts_init: list[Tensor],
        tl_pts_refine: list[Tensor],
        br_pts_refine: list[Tensor],
        hm_scores: list[Tensor],
        hm_offsets: list[Tensor],
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
            hm_scores (list[Tensor]): See :meth:`forward`.
            hm_offsets (list[Tensor]): See :meth:`forward`.
            sem_scores (list[Tensor]): See :meth:`forward`.
            batch_gt_instances (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
            batch_img_metas (list[dict]): ``pad_shape`` of each image.
            batch_gt_instances_ignore (list[InstanceData] | None): Not used, as in the official
                code: cells on ignored objects count as background.

        Returns:
            dict: Those of :meth:`QuarterBoxHead.quarter_losses` and :meth:`keypoint_losses`.
        """
        losses = self.quarter_losses(
            (tl_cls_scores, br_cls_scores),
            (tl_pts_init, br_pts_init),
            (tl_pts_refine, br_pts_refine),
            sem_scores,
            batch_gt_instances,
            batch_img_metas,
        )
        losses |= self.keypoint_losses(hm_scores, hm_offsets, batch_gt_instances, batch_img_metas)
        return losses

    def keypoint_losses(
        self,
        hm_scores: list[Tensor],
        hm_offsets: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
    ) -> dict[str, list[Tensor]]:
        """Losses of the heat maps and of the offsets.

        The sum over each of the three maps is divided by its number of key points (averaged over
        the processes, as in :meth:`QuarterBoxHead.quarter_losses`).

        Args:
            hm_scores (list[Tensor]): Logits per level, (B, 3, H, W).
            hm_offsets (list[Tensor]): Offsets per level, (B, 6, H, W), in strides.
            batch_gt_instances (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
            batch_img_metas (list[dict]): ``pad_shape`` of each image.

        Returns:
            dict: ``loss_heatmap`` and ``loss_offset`` with a value per level, the mean of the
            three maps.
        """
        instances = [usable_instances(gt, self.num_classes) for gt in batch_gt_instances]
        shapes = [tuple(m.shape[-2:]) for m in hm_scores]
        strides = [stride[0] for stride in self.prior_generator.strides]
        valid = self._valid_cells(hm_scores, batch_img_metas)
        targets = keypoint_targets(instances, shapes, strides, valid)
        share = 1 / reduce_mean(targets.num_pos.float())  # (3,)
        weight = valid[..., None] * share

        losses: dict[str, list[Tensor]] = dict(loss_heatmap=[], loss_offset=[])
        sizes = [h * w for h, w in shapes]
        parts = (targets.heat, targets.offset, targets.positive, weight)
        per_level = zip(*(part.split(sizes, 1) for part in parts), strict=True)
        for level, (heat, offset, positive, level_weight) in enumerate(per_level):
            prob = flatten_levels([hm_scores[level]]).sigmoid()
            losses["loss_heatmap"].append(
                self.loss_heatmap(prob, heat, weight=level_weight, avg_factor=len(KEYPOINTS))
            )
            predicted = flatten_levels([hm_offsets[level]]).unflatten(2, (len(KEYPOINTS), 2))
            offset_weight = level_weight[positive][:, None].expand(-1, 2)
            losses["loss_offset"].append(
                self.loss_offset(
                    predicted[positive],
                    offset[positive],
                    weight=offset_weight,
                    avg_factor=len(KEYPOINTS),
                )
            )
        return losses

    def predict_by_feat(
        self,
        tl_cls_scores: list[Tensor],
        br_cls_scores: list[Tensor],
        tl_pts_init: list[Tensor],
        br_pts_init: list[Tensor],
        tl_pts_refine: list[Tensor],
        br_pts_refine: list[Tensor],
        hm_scores: list[Tensor],
        hm_offsets: list[Tensor],
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
            hm_scores (list[Tensor]): See :meth:`forward`.
            hm_offsets (list[Tensor]): See :meth:`forward`.
            sem_scores (list[Tensor]): Not used.
            batch_img_metas (list[dict]): ``img_shape`` and, if ``rescale``, ``scale_factor``.
            cfg (dict | None): Replaces ``test_cfg``.
            rescale (bool): Whether boxes go back to the original image.

        Returns:
            list[InstanceData]: ``bboxes`` (K, 4), ``scores`` (K,) and ``labels`` (K,) per image.
        """
        cfg = self.test_cfg if cfg is None else cfg
        quarters = []
        for cls_scores, points, corners in (
            (tl_cls_scores, tl_pts_refine, (TL, CT)),
            (br_cls_scores, br_pts_refine, (CT, BR)),
        ):
            boxes, scores, counts = self.candidates(cls_scores, points, batch_img_metas, cfg)
            boxes = self._refine(boxes.split(counts, 1), corners, hm_scores, hm_offsets)
            quarters.append((clamp_boxes(boxes, batch_img_metas), scores))
        return self.detect(*quarters, batch_img_metas, cfg, rescale, hm_scores[0][:, CT])

    def _refine(
        self,
        levels: Sequence[Tensor],
        corners: tuple[int, int],
        hm_scores: list[Tensor],
        hm_offsets: list[Tensor],
    ) -> Tensor:
        """Move the corners of quarter boxes to key points of a finer level.

        As published, levels 1 and 2 look at the maps of level 0, levels 3 and 4 at those of level
        1, and the boxes of level 0 stay. Further levels continue that: level l looks at
        (l - 1) // 2.

        Args:
            levels (Sequence[Tensor]): (B, n, 4) quarter boxes of each level, see
                :meth:`candidates`.
            corners (tuple[int, int]): The key points of their upper left and lower right corners.
            hm_scores (list[Tensor]): See :meth:`forward`.
            hm_offsets (list[Tensor]): See :meth:`forward`.

        Returns:
            Tensor: (B, M, 4) quarter boxes in pixels, possibly beyond the image.
        """
        refined = [levels[0]]
        for source in range(len(levels) // 2):
            coarser = torch.cat(levels[2 * source + 1 : 2 * source + 3], 1)
            places = coarser.unflatten(2, (2, 2)).transpose(1, 2)  # (B, 2, M, 2)
            heat = hm_scores[source][:, corners].float()
            offset = hm_offsets[source].unflatten(1, (len(KEYPOINTS), 2))[:, corners].float()
            moved = move_to_keypoints(
                *(part.flatten(0, 1) for part in (places, heat, offset)),
                self.prior_generator.strides[source][0],
            )
            refined.append(moved.view_as(places).transpose(1, 2).flatten(2))
        return torch.cat(refined, 1)
