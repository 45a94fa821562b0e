"""What the heads of CenterNet++ share: quarter box losses, semantic maps, and decoding."""

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.task_modules.prior_generators import MlvlPointGenerator
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptMultiConfig, reduce_mean
from mmengine.model import bias_init_with_prob, normal_init
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from mmext.registry import MODELS, TASK_UTILS

from ..keypoints.instances import usable_instances
from .grouping import group_quarters
from .keypoint_lookup import best_of_four
from .quarter_boxes import clamp_boxes, flatten_levels, points_to_boxes, split_boxes
from .quarter_branch import QuarterBranch, conv_tower
from .suppression import best_after_nms
from .targets import QuarterTargets, quarter_targets, semantic_weights


class QuarterBoxHead(BaseDenseHead):
    """Base of the CenterNet++ heads.

    A subclass builds ``self.branches`` (a ``tl`` and a ``br`` :class:`QuarterBranch`), writes
    ``forward``, and passes its outputs on to :meth:`quarter_losses` and :meth:`detect`.

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Channels of the feature maps.
        feat_channels (int): Channels of towers and shared convolutions.
        shared_stacked_convs (int): Convolutions on the sum of the two box towers.
        strides (Sequence[int]): Pixels per cell of each level, finest first.
        norm_cfg (dict): Norm of towers and shared convolutions.
        loss_cls (dict): Loss of the classes, on logits (n, C) and labels (n,).
        loss_pts_init (dict): Loss of the first quarter boxes.
        loss_pts_refine (dict): Loss of the final quarter boxes.
        loss_sem (dict): Loss of the semantic maps.
        box_loss_scale (float): Boxes are divided by this many strides before the box losses. It
            matters because the official GIoU adds 1 to each side: a quarter box of one cell is
            1.25 wide with the official 4, and hardly any error counts. For objects of a few cells
            1 is better.
        kaiming_predictors (bool): Whether the first convolution of each predictor starts from
            Kaiming's normal distribution instead of the official N(0, 0.01^2). No norm follows
            it, so that the official one lets a hundredth of a gradient through at first. Over tens
            of epochs that does not matter; a schedule of some hundred steps needs this.
        initial_box (float): Side in strides of the quarter box that every cell predicts at first.
            With the official 0 boxes start as points, and cells are assigned at random until they
            have an extent; 4 is what the first assigner expects.
        train_cfg (dict | None): ``init`` and ``refine``, each with an ``assigner``.
        test_cfg (dict | None): ``nms_pre`` (cells kept per level and branch), ``score_thr``,
            ``quarter_nms`` and ``max_per_branch`` (before grouping), ``grouping`` (keyword
            arguments of :func:`group_quarters`), ``nms`` and ``max_per_img`` (after it), and, if
            wanted, ``score_fusion`` (see :meth:`detect`).
        init_cfg (dict | None): For mmengine.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        shared_stacked_convs: int,
        strides: Sequence[int],
        norm_cfg: ConfigType,
        loss_cls: ConfigType,
        loss_pts_init: ConfigType,
        loss_pts_refine: ConfigType,
        loss_sem: ConfigType,
        box_loss_scale: float = 4.0,
        kaiming_predictors: bool = False,
        initial_box: float = 0.0,
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.feat_channels = feat_channels
        self.norm_cfg = norm_cfg
        self.box_loss_scale = box_loss_scale
        self.kaiming_predictors = kaiming_predictors
        self.initial_box = initial_box
        self.prior_generator = MlvlPointGenerator(strides, offset=0)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_pts_init = MODELS.build(loss_pts_init)
        self.loss_pts_refine = MODELS.build(loss_pts_refine)
        self.loss_sem = MODELS.build(loss_sem)
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg
        if train_cfg is not None:
            self.init_assigner = TASK_UTILS.build(train_cfg["init"]["assigner"])
            self.refine_assigner = TASK_UTILS.build(train_cfg["refine"]["assigner"])

        self.branches: dict[str, QuarterBranch] | nn.ModuleDict
        self.shared_convs = conv_tower(
            feat_channels, feat_channels, [None] * shared_stacked_convs, norm_cfg
        )
        self.sem_out = nn.Conv2d(feat_channels, num_classes, 1)
        self.sem_embedding = ConvModule(feat_channels, feat_channels, 1, norm_cfg=norm_cfg)

    def init_weights(self) -> None:
        """Initialise as the official code does.

        N(0, 0.01^2) everywhere, class and semantic logits at a probability of 0.01, but for the
        semantic embedding, which keeps the default of ``ConvModule`` (Kaiming), and for what
        ``kaiming_predictors`` and ``initial_box`` say.
        """
        for branch in self.branches.values():
            branch.reset_parameters(
                kaiming_predictors=self.kaiming_predictors, initial_box=self.initial_box
            )
        for layer in self.shared_convs:
            normal_init(layer.conv, std=0.01)
        normal_init(self.sem_out, std=0.01, bias=bias_init_with_prob(0.01))
        super().init_weights()

    def check_levels(self, feats: Sequence[Tensor]) -> None:
        """Refuse feature maps that are more or fewer than the strides of the head.

        Args:
            feats (Sequence[Tensor]): One (B, in_channels, H, W) map per level.

        Raises:
            ValueError: Their number is not that of ``strides``.
        """
        strides = [stride[0] for stride in self.prior_generator.strides]
        if len(feats) != len(strides):
            raise ValueError(
                f"{type(self).__name__} got {len(feats)} feature maps for {len(strides)} "
                f"strides={strides}. Set model.neck.num_outs to the number of "
                "model.bbox_head.strides, or the other way round."
            )

    def grid(self, maps: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
        """List the cells of all levels.

        Args:
            maps (Sequence[Tensor]): One (B, C, H, W) map per level.

        Returns:
            tuple[Tensor, list[int]]: (N, 3) x, y and stride of the cells in pixels, and the number
            of cells per level.
        """
        levels = self.prior_generator.grid_priors(
            [m.shape[-2:] for m in maps], device=maps[0].device, with_stride=True
        )
        return torch.cat(levels)[:, :3], [len(level) for level in levels]

    def quarter_losses(
        self,
        cls_scores: tuple[list[Tensor], list[Tensor]],
        pts_init: tuple[list[Tensor], list[Tensor]],
        pts_refine: tuple[list[Tensor], list[Tensor]],
        sem_scores: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
    ) -> dict[str, list[Tensor] | Tensor]:
        """Losses of the quarter boxes and of the semantic maps.

        Every sum is divided by its number of positive cells, averaged over the processes so that
        two of them equal one with the whole batch (the official code divides by the local count).

        Args:
            cls_scores (tuple[list[Tensor], list[Tensor]]): Top-left and bottom-right class logits,
                per level (B, C, H, W).
            pts_init (tuple[list[Tensor], list[Tensor]]): First point sets, (B, 2K, H, W).
            pts_refine (tuple[list[Tensor], list[Tensor]]): Final point sets, (B, 2K, H, W).
            sem_scores (list[Tensor]): Semantic logits, per level (B, C, H, W).
            batch_gt_instances (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
            batch_img_metas (list[dict]): ``pad_shape`` of each image.

        Returns:
            dict: ``loss_cls``, ``loss_pts_init`` and ``loss_pts_refine`` with a value per level,
            the mean of both branches, and ``loss_sem``.
        """
        grid, sizes = self.grid(sem_scores)
        instances = [usable_instances(gt, self.num_classes) for gt in batch_gt_instances]
        valid = self._valid_cells(sem_scores, batch_img_metas)
        init_boxes = [points_to_boxes(flatten_levels(p), grid) for p in pts_init]
        refine_boxes = [points_to_boxes(flatten_levels(p), grid) for p in pts_refine]
        init, refine = self._targets(instances, grid, sizes, valid, init_boxes)

        weights = self._semantic_targets(sem_scores, instances)
        counts = [t.num_pos for t in (*init, *refine)] + [(weights > 0).sum(), weights.sum()]
        *num_pos, sem_pos, sem_sum = reduce_mean(torch.stack([c.float() for c in counts])).unbind()

        losses: dict[str, list[Tensor] | Tensor] = {
            "loss_cls": self._cls_losses(cls_scores, refine, valid, sizes, num_pos[2:]),
            "loss_pts_init": self._box_losses(
                self.loss_pts_init, init_boxes, init, grid, sizes, num_pos[:2]
            ),
            "loss_pts_refine": self._box_losses(
                self.loss_pts_refine, refine_boxes, refine, grid, sizes, num_pos[2:]
            ),
        }
        losses["loss_sem"] = self.loss_sem(flatten_levels(sem_scores), weights, sem_sum, sem_pos)
        return losses

    def _valid_cells(self, maps: Sequence[Tensor], metas: list[dict]) -> Tensor:
        """Tell cells of the image from cells of the batch's padding, (B, N)."""
        sizes = [m.shape[-2:] for m in maps]
        flags = [
            self.prior_generator.valid_flags(sizes, meta["pad_shape"], maps[0].device)
            for meta in metas
        ]
        return torch.stack([torch.cat(levels) for levels in flags])

    def _targets(
        self,
        instances: InstanceList,
        grid: Tensor,
        sizes: list[int],
        valid: Tensor,
        init_boxes: list[Tensor],
    ) -> tuple[list[QuarterTargets], list[QuarterTargets]]:
        """Targets of both stages, each for the top-left and the bottom-right branch.

        The init stage assigns cells by their place, the refine stage (and with it the classes) by
        the boxes that the init stage predicts there.
        """
        labels = [gt.labels for gt in instances]
        cells = grid.expand(len(instances), -1, -1)
        init, refine = [], []
        for side, boxes in enumerate(init_boxes):
            quarters = [split_boxes(gt.bboxes)[side] for gt in instances]
            common = (valid, sizes, quarters, labels, self.num_classes)
            init.append(quarter_targets(self.init_assigner, cells, *common))
            refine.append(quarter_targets(self.refine_assigner, boxes.detach(), *common))
        return init, refine

    def _semantic_targets(self, sem_scores: list[Tensor], instances: InstanceList) -> Tensor:
        """Semantic weights of all levels, (B, N, C): painted on the finest, nearest elsewhere."""
        finest = semantic_weights(
            instances,
            self.num_classes,
            sem_scores[0].shape[-2:],
            self.prior_generator.strides[0][0],
        )
        return flatten_levels([F.interpolate(finest, size=s.shape[-2:]) for s in sem_scores])

    def _cls_losses(
        self,
        cls_scores: tuple[list[Tensor], list[Tensor]],
        targets: list[QuarterTargets],
        valid: Tensor,
        sizes: list[int],
        num_pos: list[Tensor],
    ) -> list[Tensor]:
        """Class loss per level, the mean of both branches."""
        weight = [v.flatten().float() for v in valid.split(sizes, 1)]
        labels = [target.labels.split(sizes, 1) for target in targets]
        losses = []
        for level in range(len(sizes)):
            both = [
                self.loss_cls(
                    flatten_levels([cls_scores[side][level]]).flatten(0, 1),
                    labels[side][level].flatten(),
                    weight[level],
                    avg_factor=num_pos[side],
                )
                for side in range(2)
            ]
            losses.append(sum(both) / 2)
        return losses

    def _box_losses(
        self,
        criterion: nn.Module,
        boxes: list[Tensor],
        targets: list[QuarterTargets],
        grid: Tensor,
        sizes: list[int],
        num_pos: list[Tensor],
    ) -> list[Tensor]:
        """Box loss per level over the positive cells, the mean of both branches."""
        scale = self.box_loss_scale * grid[:, 2:3]
        losses = [grid.new_zeros(())] * len(sizes)
        for side in range(2):
            positive = (targets[side].labels < self.num_classes).split(sizes, 1)
            pred = (boxes[side] / scale).split(sizes, 1)
            target = (targets[side].boxes / scale).split(sizes, 1)
            for level, mask in enumerate(positive):
                loss = criterion(pred[level][mask], target[level][mask], avg_factor=num_pos[side])
                losses[level] = losses[level] + loss / 2
        return losses

    def candidates(
        self,
        cls_scores: list[Tensor],
        points: list[Tensor],
        batch_img_metas: list[dict],
        cfg: ConfigType,
    ) -> tuple[Tensor, Tensor, list[int]]:
        """Decode the best cells of one branch, for all images at once.

        Args:
            cls_scores (list[Tensor]): Class logits per level, (B, C, H, W).
            points (list[Tensor]): Final point sets per level, (B, 2K, H, W).
            batch_img_metas (list[dict]): ``img_shape`` of each image, to which boxes are clamped.
            cfg (dict): As ``test_cfg``. Of each level ``nms_pre`` cells are kept, by their best
                class, and of those at most as many as beat ``score_thr`` in any of the images.

        Returns:
            tuple[Tensor, Tensor, list[int]]: (B, M, 4) quarter boxes in pixels, (B, M, C) scores,
            and how many of the M come from each level.
        """
        kept = []
        for level, (cls_score, point_set) in enumerate(zip(cls_scores, points, strict=True)):
            logits, corners = cls_score.flatten(2), point_set[:, :4].flatten(2)
            best, index = logits.amax(1).topk(min(cfg["nms_pre"], logits.size(2)))
            # Cells come best first. Of most levels few are worth reading, with all their classes.
            above = best.float().sigmoid() > cfg["score_thr"]
            index = index[:, : int(above.sum(1).max())]
            logits, corners = (
                part.gather(2, index[:, None].expand(-1, part.size(1), -1))
                for part in (logits, corners)
            )
            cells = self.prior_generator.sparse_priors(
                index, cls_score.shape[-2:], level, device=index.device
            )  # (B, 2, n)
            stride = self.prior_generator.strides[level][0]
            kept.append((logits, corners, F.pad(cells, (0, 0, 0, 1), value=stride)))
        counts = [level[0].size(2) for level in kept]
        scores, corners, grid = (
            torch.cat(levels, 2).transpose(1, 2).float() for levels in zip(*kept, strict=True)
        )
        boxes = clamp_boxes(points_to_boxes(corners, grid), batch_img_metas)
        return boxes, scores.sigmoid(), counts

    def detect(
        self,
        top_left: tuple[Tensor, Tensor],
        bottom_right: tuple[Tensor, Tensor],
        batch_img_metas: list[dict],
        cfg: ConfigType,
        rescale: bool,
        centre_heat: Tensor | None = None,
    ) -> InstanceList:
        """Turn quarter boxes into objects.

        Boxes are scaled back before they are grouped, as in the official code: the area that
        separates small from large objects is one in the original image.

        With ``score_fusion="pair"`` in ``cfg``, the default and the official code, the score is the
        mean of both quarter boxes' class scores. With ``"triplet"`` it is the mean of those two and
        the score of the centre, as the paper has it (arXiv 2204.08394). Where that is read from is
        our reading: the heat map of centres on the finest level, where every object has a peak, in
        the highest of the four cells around the middle of the box.

        Args:
            top_left (tuple[Tensor, Tensor]): (B, M, 4) boxes and (B, M, C) scores.
            bottom_right (tuple[Tensor, Tensor]): The same of the other branch.
            batch_img_metas (list[dict]): ``scale_factor`` (w, h) of each image if ``rescale``.
            cfg (dict): As ``test_cfg``.
            rescale (bool): Whether boxes go back to the original image.
            centre_heat (Tensor | None): (B, H, W) logits of centres on the finest level, for
                ``score_fusion="triplet"``.

        Returns:
            list[InstanceData]: ``bboxes`` (K, 4), ``scores`` (K,) and ``labels`` (K,) per image.

        Raises:
            ValueError: ``score_fusion`` is unknown, or needs a heat map that the head lacks.
        """
        fusion = cfg.get("score_fusion", "pair")
        if fusion not in ("pair", "triplet") or (fusion == "triplet" and centre_heat is None):
            raise ValueError(
                f"model.test_cfg.score_fusion={fusion!r}: expected 'pair', or 'triplet' with "
                f"CenterNetPlusPlusHead ({type(self).__name__} "
                f"{'has' if centre_heat is not None else 'lacks'} a heat map of centres)."
            )
        results = []
        for i, meta in enumerate(batch_img_metas):
            quarters = []
            scale = top_left[0].new_tensor([*meta["scale_factor"]] * 2 if rescale else [1.0] * 4)
            for boxes, scores in (top_left, bottom_right):
                cell, label = (scores[i] > cfg["score_thr"]).nonzero().unbind(1)
                quarters += best_after_nms(
                    (boxes[i] / scale)[cell],
                    scores[i][cell, label],
                    label,
                    cfg["quarter_nms"],
                    cfg["max_per_branch"],
                )
            boxes, scores, labels = group_quarters(*quarters, **cfg["grouping"])
            if fusion == "triplet":
                centres = (boxes[:, :2] + boxes[:, 2:]) / 2 * scale[:2]
                stride = self.prior_generator.strides[0][0]
                logits, _ = best_of_four(centre_heat[i : i + 1].float(), centres[None], stride)
                scores = (2 * scores + logits[0].sigmoid()) / 3
            results.append(self._merge((boxes, scores, labels), cfg))
        return results

    @staticmethod
    def _merge(objects: tuple[Tensor, Tensor, Tensor], cfg: ConfigType) -> InstanceData:
        """Suppress duplicates within each class and keep the best."""
        boxes, scores, labels = best_after_nms(*objects, cfg["nms"], cfg["max_per_img"])
        return InstanceData(bboxes=boxes, scores=scores, labels=labels)
