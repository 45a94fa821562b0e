"""The head of CPN, which owns both of its stages."""

from collections.abc import Sequence

import torch
from mmdet.utils import (
    ConfigType,
    InstanceList,
    OptConfigType,
    OptInstanceList,
    OptMultiConfig,
    reduce_mean,
)
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn import functional as F

from mmext.registry import MODELS, TASK_UTILS

from ..keypoints.corner_decode import CornerPairs
from ..keypoints.corner_head import CornerHead, Losses
from ..keypoints.pooling import CascadeCornerPool
from ..keypoints.predictor import HEAT_BIAS, heat_loss
from ..keypoints.targets import KeypointTargets, RadiusForm
from .decode import best_pairs, detect, fuse_scores, passing, to_pixels
from .proposals import Proposals, SampledRoIs, propose, sample_rois, to_rois
from .roi_branch import RoIBranch, RoIForm

CORNERS = ("tl", "br")


@MODELS.register_module()
class CPNHead(CornerHead):
    """Head of CPN: pairs of corners as proposals, then two classifiers for them.

    Corner Proposal Network for Anchor-free, Two-stage Object Detection (Duan et al., arXiv
    2007.13816). For each stack of an hourglass there are cascade corner pooling, a heat map per
    class and offsets for top-left and bottom-right corners, and two maps for proposals. Every pair
    of corners of one class is a proposal. A binary classifier on few channels (*grouping*) throws
    most of them out, a multi-class one (*region*) gives the probability of the corners' class to
    the rest. The last stack is decoded, all are trained, with the proposals of the last.

    :meth:`forward` gives six lists over stacks, of the maps of :meth:`forward_stack`.

    The head takes any feature map: a stack may be the finest map of a neck, of any stride. Maps and
    images meet in ``batch_input_shape``, so nothing has to be said about strides.

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Channels of the feature maps.
        feat_channels (int): Channels inside the predictors and of a pooled proposal.
        pool_channels (int): Channels of the pooled maps (official: 128 for hourglasses, 64 for
            DLA-34).
        grouping_channels (int): Channels of the map of the binary classifier.
        num_stacks (int): Number of feature maps, 1 for Hourglass-52 and DLA-34, 2 for
            Hourglass-104.
        roi_form (str): ``hourglass`` or ``dla``, see :class:`RoIBranch`. With ``dla`` offsets also
            start without a bias.
        roi_layer (dict): Arguments of :class:`mmcv.ops.RoIAlign`. ``sampling_ratio`` is 1 for
            DLA-34 and Hourglass-104 and 2 for Hourglass-52; ``aligned=True`` puts the values of a
            map in the middle of its cells, where the official code has them at their corners.
        norm_cfg (dict): Norm of all convolutions that have one.
        radius_form (str): ``legacy`` paints bumps as large as the official code does, ``correct``
            as large as CornerNet's paper says; see
            :func:`mmext.detection.keypoints.targets.gaussian_radius`. The published results are
            those of ``legacy``, hence the default.
        min_radius (int): Least radius of a bump, in cells. The official code has none; where
            objects are a few cells large, either form comes to one cell or less.
        legacy_plus_one (bool): Whether boxes are ``x2 - x1 + 1`` wide: proposals for the assigner
            and for RoIAlign (in cells), detections in flip consistency and soft-NMS (in pixels).
            The official code has that; without it boxes of one cell have no area.
        loss_heatmap (dict): Loss of the heat maps, on probabilities.
        loss_offset (dict): Loss of the offsets, in cells.
        loss_grouping (dict): Loss of the binary classifier, on probabilities.
        loss_region (dict): Loss of the multi-class classifier, on probabilities.
        train_cfg (dict | None): ``num_peaks`` and ``kernel`` as in :func:`propose`, ``assigner``
            and ``sampler``, and ``grouping_thr``, the least probability of the binary classifier
            with which a proposal trains the multi-class one.
        test_cfg (dict | None): ``num_peaks``, ``kernel`` and ``grouping_thr`` likewise,
            ``num_pairs`` as in :func:`best_pairs`, ``flip_consistency``, ``nms`` and
            ``max_per_img`` as in :func:`mmext.detection.cpn.decode.detect`.
        init_cfg (dict | None): For mmengine.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 256,
        pool_channels: int = 128,
        grouping_channels: int = 32,
        num_stacks: int = 1,
        roi_form: RoIForm = "hourglass",
        roi_layer: ConfigType = dict(output_size=7, sampling_ratio=2, aligned=False),
        norm_cfg: ConfigType = dict(type="BN", requires_grad=True),
        radius_form: RadiusForm = "legacy",
        min_radius: int = 0,
        legacy_plus_one: bool = True,
        loss_heatmap: ConfigType = dict(type="mmdet.GaussianFocalLoss", alpha=2.0, gamma=4.0),
        loss_offset: ConfigType = dict(type="mmdet.SmoothL1Loss", beta=1.0),
        loss_grouping: ConfigType = dict(type="mmdet.GaussianFocalLoss", alpha=2.0, gamma=4.0),
        loss_region: ConfigType = dict(type="mmdet.GaussianFocalLoss", alpha=2.0, gamma=4.0),
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            feat_channels=feat_channels,
            num_stacks=num_stacks,
            outputs=dict(heats=(CORNERS, num_classes), offsets=(CORNERS, 2)),
            radius_form=radius_form,
            min_radius=min_radius,
            loss_heatmap=loss_heatmap,
            loss_offset=loss_offset,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )
        self.roi_form = roi_form
        self.legacy_plus_one = legacy_plus_one
        self.loss_grouping = MODELS.build(loss_grouping)
        self.loss_region = MODELS.build(loss_region)
        if train_cfg is not None:
            self.assigner = TASK_UTILS.build(train_cfg["assigner"])
            self.sampler = TASK_UTILS.build(train_cfg["sampler"])

        pool = dict(feat_channels=pool_channels, norm_cfg=norm_cfg)
        roi = dict(form=roi_form, roi_layer=roi_layer, norm_cfg=norm_cfg)
        self.groupings, self.regions = nn.ModuleList(), nn.ModuleList()
        for _ in range(num_stacks):
            self.add_stack(
                dict(
                    tl=CascadeCornerPool(in_channels, ("top", "left"), **pool),
                    br=CascadeCornerPool(in_channels, ("bottom", "right"), **pool),
                )
            )
            self.groupings.append(
                RoIBranch(in_channels, grouping_channels, grouping_channels, 1, **roi)
            )
            self.regions.append(
                RoIBranch(in_channels, in_channels, feat_channels, num_classes, **roi)
            )

    def init_weights(self) -> None:
        """Initialise as the official code does: torch's default, scores at a probability of .1."""
        super().init_weights()
        for branch in (*self.groupings, *self.regions):
            nn.init.constant_(branch.out.bias, HEAT_BIAS)
        if self.roi_form == "dla":
            for module in self.offsets.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.zeros_(module.bias)

    def forward_stack(self, x: Tensor, stack: int) -> tuple[Tensor, ...]:
        """Predict from one stack.

        Args:
            x (Tensor): (B, in_channels, H, W).
            stack (int): Its number.

        Returns:
            tuple[Tensor, ...]: Heat map logits (B, C, H, W) of top-left and of bottom-right
            corners, x, y offsets (B, 2, H, W) from the cell, in cells, of both, and the maps
            (B, grouping_channels, H, W) and (B, in_channels, H, W) on which proposals are grouped
            and classified.
        """
        maps = super().forward_stack(x, stack)
        return (*maps, self.groupings[stack](x), self.regions[stack](x))

    def targets(
        self,
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        map_shape: Sequence[int],
    ) -> tuple[KeypointTargets, KeypointTargets, Tensor]:
        """Targets of top-left and of bottom-right corners.

        Boxes are clipped to the image; those without extent then are left out.

        Args:
            batch_gt_instances (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
            batch_img_metas (list[dict]): ``batch_input_shape`` and ``img_shape`` of each image.
            map_shape (Sequence[int]): Height and width of the maps.

        Returns:
            tuple[KeypointTargets, KeypointTargets, Tensor]: Those of both corners, and the labels
            (N,) of the objects, which stand in the same order in all three.
        """
        objects = self.objects(batch_gt_instances, batch_img_metas, map_shape)
        return (
            objects.keypoints(objects.boxes[:, :2]),
            objects.keypoints(objects.boxes[:, 2:]),
            objects.labels,
        )

    def loss_by_feat(
        self,
        tl_heats: list[Tensor],
        br_heats: list[Tensor],
        tl_offsets: list[Tensor],
        br_offsets: list[Tensor],
        grouping_maps: list[Tensor],
        region_maps: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> Losses:
        """Losses from the outputs of :meth:`forward`.

        Args:
            tl_heats (list[Tensor]): See :meth:`forward`.
            br_heats (list[Tensor]): See :meth:`forward`.
            tl_offsets (list[Tensor]): See :meth:`forward`.
            br_offsets (list[Tensor]): See :meth:`forward`.
            grouping_maps (list[Tensor]): See :meth:`forward`.
            region_maps (list[Tensor]): See :meth:`forward`.
            batch_gt_instances (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
            batch_img_metas (list[dict]): See :meth:`targets`.
            batch_gt_instances_ignore (list[InstanceData] | None): Not used, as in the official
                code.

        Returns:
            dict: ``loss_heatmap``, ``loss_offset``, ``loss_grouping`` and ``loss_region``, with a
            value per stack, each divided by the number of stacks.
        """
        *corners, labels = self.targets(batch_gt_instances, batch_img_metas, tl_heats[0].shape[-2:])
        losses = self.keypoint_losses((tl_heats, br_heats), (tl_offsets, br_offsets), corners)
        proposals = self._propose(tl_heats[-1].detach(), br_heats[-1].detach(), self.train_cfg)
        sampled = self.sample(proposals, corners, labels)
        return losses | self.roi_losses(grouping_maps, region_maps, sampled)

    def sample(
        self, proposals: Proposals, corners: Sequence[KeypointTargets], labels: Tensor
    ) -> SampledRoIs:
        """Choose what trains the second stage, see :func:`sample_rois`.

        Args:
            proposals (Proposals): Of the batch.
            corners (Sequence[KeypointTargets]): Of top-left and of bottom-right corners.
            labels (Tensor): (N,) classes of the objects.

        Returns:
            SampledRoIs: In cells.
        """
        return sample_rois(
            proposals,
            corners[0].images,
            torch.cat([corner.cells for corner in corners], 1),
            labels,
            num_images=len(corners[0].heat),
            num_classes=self.num_classes,
            assigner=self.assigner,
            sampler=self.sampler,
            plus_one=self.legacy_plus_one,
        )

    def roi_losses(
        self, grouping_maps: list[Tensor], region_maps: list[Tensor], sampled: SampledRoIs
    ) -> Losses:
        """Losses of the second stage, both divided by their number of objects (see above).

        The multi-class classifier learns from the proposals that the binary one of the last stack
        lets through, and always from the boxes of the objects.

        Args:
            grouping_maps (list[Tensor]): See :meth:`forward`.
            region_maps (list[Tensor]): See :meth:`forward`.
            sampled (SampledRoIs): Proposals and objects.

        Returns:
            dict: ``loss_grouping`` and ``loss_region``.
        """
        grouped = [
            branch.classify(maps, sampled.rois)[:, 0]
            for branch, maps in zip(self.groupings, grouping_maps, strict=True)
        ]
        threshold = self.train_cfg["grouping_thr"]
        through = sampled.is_gt | (grouped[-1].detach().float().sigmoid() >= threshold)
        classes = F.one_hot(sampled.labels, self.num_classes + 1)[:, : self.num_classes].float()
        objects, classes = classes.sum(1), classes[through]
        counts = reduce_mean(torch.stack((objects.sum(), classes.sum()))).unbind()
        losses: Losses = dict(loss_grouping=[], loss_region=[])
        for group, branch, maps in zip(grouped, self.regions, region_maps, strict=True):
            region = branch.classify(maps, sampled.rois[through])
            for name, loss, logits, target, count in (
                ("loss_grouping", self.loss_grouping, group, objects, counts[0]),
                ("loss_region", self.loss_region, region, classes, counts[1]),
            ):
                losses[name].append(heat_loss(loss, logits, target, count) / self.num_stacks)
        return losses

    @staticmethod
    def _propose(tl_heat: Tensor, br_heat: Tensor, cfg: ConfigType) -> Proposals:
        """Pair corners with the settings of ``train_cfg`` or ``test_cfg``."""
        return propose(tl_heat, br_heat, num_peaks=cfg["num_peaks"], kernel=cfg["kernel"])

    def group(
        self, proposals: Proposals, grouping_map: Tensor, threshold: float
    ) -> tuple[Proposals, Tensor]:
        """Let the binary classifier of the last stack choose proposals.

        Args:
            proposals (Proposals): Of the batch.
            grouping_map (Tensor): (B, ..., H, W).
            threshold (float): Least probability.

        Returns:
            tuple[Proposals, Tensor]: Those that pass, see :func:`passing`, and whether (N,) each is
            below the threshold after all.
        """
        rois = to_rois(proposals.images, proposals.boxes, plus_one=self.legacy_plus_one)
        grouping = self.groupings[-1].classify(grouping_map, rois)[:, 0].float().sigmoid()
        passed = passing(grouping, proposals.images, len(grouping_map), threshold)
        return proposals.take(passed), grouping[passed] < threshold

    def class_prob(self, proposals: Proposals, region_map: Tensor) -> Tensor:
        """Ask the multi-class classifier of the last stack about the classes of the corners.

        Args:
            proposals (Proposals): Of the batch.
            region_map (Tensor): (B, ..., H, W).

        Returns:
            Tensor: (N,) probability that a proposal is an object of its class.
        """
        rois = to_rois(proposals.images, proposals.boxes, plus_one=self.legacy_plus_one)
        region = self.regions[-1].classify(region_map, rois).float().sigmoid()
        return region.gather(1, proposals.labels[:, None])[:, 0]

    def classify(
        self, proposals: Proposals, grouping_map: Tensor, region_map: Tensor, threshold: float
    ) -> tuple[Proposals, Tensor]:
        """Run the second stage on proposals, see :meth:`group` and :meth:`class_prob`.

        Args:
            proposals (Proposals): Of the batch.
            grouping_map (Tensor): (B, ..., H, W).
            region_map (Tensor): (B, ..., H, W).
            threshold (float): Least probability of the binary classifier.

        Returns:
            tuple[Proposals, Tensor]: Those that pass, and their fused scores, less one where they
            are below the threshold after all, as in the official code.
        """
        kept, below = self.group(proposals, grouping_map, threshold)
        prob = self.class_prob(kept, region_map)
        return kept, fuse_scores(kept.scores, prob) - below.to(prob)

    def predict_by_feat(
        self,
        tl_heats: list[Tensor],
        br_heats: list[Tensor],
        tl_offsets: list[Tensor],
        br_offsets: list[Tensor],
        grouping_maps: list[Tensor],
        region_maps: list[Tensor],
        batch_img_metas: list[dict],
        cfg: OptConfigType = None,
        rescale: bool = False,
    ) -> InstanceList:
        """Detections from the outputs of :meth:`forward`, of which the last stack counts.

        Args:
            tl_heats (list[Tensor]): See :meth:`forward`.
            br_heats (list[Tensor]): See :meth:`forward`.
            tl_offsets (list[Tensor]): See :meth:`forward`.
            br_offsets (list[Tensor]): See :meth:`forward`.
            grouping_maps (list[Tensor]): See :meth:`forward`.
            region_maps (list[Tensor]): See :meth:`forward`.
            batch_img_metas (list[dict]): See :meth:`mmext.detection.keypoints.views.View.of`.
            cfg (dict | None): Replaces ``test_cfg``.
            rescale (bool): Whether boxes go back to the original image.

        Returns:
            list[InstanceData]: ``bboxes`` (K, 4), ``scores`` (K,) from 0 to 2 and ``labels`` (K,)
            per image.
        """
        cfg = self.test_cfg if cfg is None else cfg
        maps = (tl_heats, br_heats, tl_offsets, br_offsets, grouping_maps, region_maps)
        images = self.decode([m[-1] for m in maps], batch_img_metas, cfg, rescale)
        return [self.detect([image], [False], cfg) for image in images]

    def detect(
        self, views: Sequence[CornerPairs], flipped: Sequence[bool], cfg: ConfigType
    ) -> InstanceData:
        """Merge the views of an image, see :func:`mmext.detection.cpn.decode.detect`."""
        settings = {key: cfg[key] for key in ("flip_consistency", "nms", "max_per_img")}
        return detect(views, flipped, plus_one=self.legacy_plus_one, **settings)

    def decode(
        self, maps: Sequence[Tensor], batch_img_metas: list[dict], cfg: ConfigType, rescale: bool
    ) -> list[CornerPairs]:
        """Detections of each image, before views are merged and before suppression.

        Args:
            maps (Sequence[Tensor]): Six maps of the last stack, see :meth:`forward_stack`.
            batch_img_metas (list[dict]): See :meth:`mmext.detection.keypoints.views.View.of`.
            cfg (dict): ``test_cfg``.
            rescale (bool): Whether to go back to the original image.

        Returns:
            list[CornerPairs]: One per image, in pixels.
        """
        tl_heat, br_heat, *offsets, grouping_map, region_map = maps
        proposals = self._propose(tl_heat, br_heat, cfg)
        proposals, scores = self.classify(proposals, grouping_map, region_map, cfg["grouping_thr"])
        pairs = best_pairs(proposals, scores, *offsets, num_pairs=cfg["num_pairs"])
        return to_pixels(pairs, batch_img_metas, tl_heat.shape[-2:], rescale=rescale)
