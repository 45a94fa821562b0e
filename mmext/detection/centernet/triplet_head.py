"""The head of CenterNet, which detects an object as a triplet of key points."""

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import multi_apply
from mmdet.structures import SampleList
from mmdet.utils import (
    ConfigType,
    InstanceList,
    OptConfigType,
    OptInstanceList,
    OptMultiConfig,
    reduce_mean,
)
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmext.registry import MODELS

from ..keypoints.pooling import CascadeCornerPool, CenterPool
from ..keypoints.predictor import COUNT_EPS, HEAT_BIAS, heat_loss, predictor
from ..keypoints.targets import KeypointTargets, RadiusForm, objects_in_cells
from .triplet_decode import TripletCandidates, decode_triplets, detect_triplets, to_image

Outputs = tuple[list[Tensor], ...]
KEYPOINTS = ("tl", "br", "ct")


@MODELS.register_module()
class CenterNetTripletHead(BaseDenseHead):
    """Head of CenterNet: corners paired by embeddings, kept if a centre lies in their middle.

    CenterNet: Keypoint Triplets for Object Detection (Duan et al., arXiv 1904.08189). For each
    stack of an hourglass there are three branches: cascade corner pooling for top-left and
    bottom-right corners, center pooling for centres. All predict a heat map per class and offsets,
    corners also an embedding of one channel. The last stack is decoded, all are trained.

    The head takes any feature map: a stack may be the finest map of a neck, of any stride. Maps and
    images meet in ``batch_input_shape``, so nothing has to be said about strides.

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Channels of the feature maps.
        feat_channels (int): Channels inside the predictors.
        pool_channels (int): Channels of the pooled maps.
        num_stacks (int): Number of feature maps, 1 for Hourglass-52 and 2 for Hourglass-104.
        norm_cfg (dict): Norm of the pooling blocks.
        radius_form (str): ``legacy`` paints bumps as large as the official code does, ``correct``
            as large as CornerNet's paper says; see
            :func:`mmext.detection.keypoints.targets.gaussian_radius`. The published results are
            those of ``legacy``, hence the default.
        center_sigma_divisor (float): Bumps of 2r + 1 cells have a sigma of ``(2r + 1) / 6`` at
            corners and ``(2r + 1) / 5`` at centres in the official code (the paper does not say).
        loss_heatmap (dict): Loss of the heat maps, on probabilities.
        loss_embedding (dict): Loss of the embeddings.
        loss_offset (dict): Loss of the offsets, in cells.
        train_cfg (dict | None): Not used.
        test_cfg (dict | None): ``num_peaks``, ``kernel``, ``max_tag_distance`` and ``num_pairs``
            as in :func:`decode_triplets`, ``center_check``, ``nms`` and ``max_per_img`` as in
            :func:`detect_triplets`.
        init_cfg (dict | None): For mmengine.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        feat_channels: int = 256,
        pool_channels: int = 128,
        num_stacks: int = 1,
        norm_cfg: ConfigType = dict(type="BN", requires_grad=True),
        radius_form: RadiusForm = "legacy",
        center_sigma_divisor: float = 5.0,
        loss_heatmap: ConfigType = dict(type="mmdet.GaussianFocalLoss", alpha=2.0, gamma=4.0),
        loss_embedding: ConfigType = dict(
            type="mmext.PullPushLoss", pull_weight=0.1, push_weight=0.1
        ),
        loss_offset: ConfigType = dict(type="mmdet.SmoothL1Loss", beta=1.0),
        train_cfg: OptConfigType = None,
        test_cfg: OptConfigType = None,
        init_cfg: OptMultiConfig = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.num_stacks = num_stacks
        self.radius_form = radius_form
        self.center_sigma_divisor = center_sigma_divisor
        self.loss_heatmap = MODELS.build(loss_heatmap)
        self.loss_embedding = MODELS.build(loss_embedding)
        self.loss_offset = MODELS.build(loss_offset)
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg

        pool = dict(feat_channels=pool_channels, norm_cfg=norm_cfg)
        self.pools, self.heats, self.tags, self.offsets = (nn.ModuleList() for _ in range(4))
        for _ in range(num_stacks):
            self.pools.append(
                nn.ModuleDict(
                    dict(
                        tl=CascadeCornerPool(in_channels, ("top", "left"), **pool),
                        br=CascadeCornerPool(in_channels, ("bottom", "right"), **pool),
                        ct=CenterPool(in_channels, **pool),
                    )
                )
            )
            for predictors, points, channels in (
                (self.heats, KEYPOINTS, num_classes),
                (self.tags, KEYPOINTS[:2], 1),
                (self.offsets, KEYPOINTS, 2),
            ):
                predictors.append(
                    nn.ModuleDict(
                        {p: predictor(in_channels, feat_channels, channels) for p in points}
                    )
                )

    def init_weights(self) -> None:
        """Initialise as the official code does: torch's default, heats at a probability of .1."""
        super().init_weights()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
        for stack in self.heats:
            for heat in stack.values():
                nn.init.constant_(heat[-1].bias, HEAT_BIAS)

    def forward(self, feats: Sequence[Tensor]) -> Outputs:
        """Predict from all stacks.

        Args:
            feats (Sequence[Tensor]): One (B, in_channels, H, W) map per stack.

        Returns:
            tuple[list[Tensor], ...]: Eight lists over stacks: heat map logits (B, C, H, W) of
            top-left corners, bottom-right corners and centres, embeddings (B, 1, H, W) of the
            top-left and the bottom-right corners, and x, y offsets (B, 2, H, W) from the cell, in
            cells, of the three.

        Raises:
            ValueError: The number of maps is not ``num_stacks``.
        """
        if len(feats) != self.num_stacks:
            raise ValueError(
                f"CenterNetTripletHead got {len(feats)} feature maps but has num_stacks="
                f"{self.num_stacks}: set model.bbox_head.num_stacks to the stacks of the "
                "hourglass, or let the neck give one map."
            )
        return multi_apply(self.forward_stack, feats, range(self.num_stacks))

    def forward_stack(self, x: Tensor, stack: int) -> tuple[Tensor, ...]:
        """Predict from one stack, see :meth:`forward`."""
        feats = {point: pool(x) for point, pool in self.pools[stack].items()}
        return tuple(
            predictors[stack][point](feats[point])
            for predictors in (self.heats, self.tags, self.offsets)
            for point in predictors[stack]
        )

    def targets(
        self,
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        map_shape: Sequence[int],
    ) -> tuple[KeypointTargets, KeypointTargets, KeypointTargets]:
        """Targets of top-left corners, bottom-right corners and centres.

        Boxes are clipped to the image; those without extent then are left out.

        Args:
            batch_gt_instances (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
            batch_img_metas (list[dict]): ``batch_input_shape`` and ``img_shape`` of each image.
            map_shape (Sequence[int]): Height and width of the maps.

        Returns:
            tuple[KeypointTargets, KeypointTargets, KeypointTargets]: The objects stand in the same
            order in all three.
        """
        objects = objects_in_cells(
            batch_gt_instances,
            batch_img_metas,
            map_shape,
            num_classes=self.num_classes,
            radius_form=self.radius_form,
        )
        top_left, bottom_right = objects.boxes[:, :2], objects.boxes[:, 2:]
        return (
            objects.keypoints(top_left),
            objects.keypoints(bottom_right),
            objects.keypoints(
                (top_left + bottom_right) / 2, sigma_divisor=self.center_sigma_divisor
            ),
        )

    def loss_by_feat(
        self,
        tl_heats: list[Tensor],
        br_heats: list[Tensor],
        ct_heats: list[Tensor],
        tl_tags: list[Tensor],
        br_tags: list[Tensor],
        tl_offsets: list[Tensor],
        br_offsets: list[Tensor],
        ct_offsets: list[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> dict[str, list[Tensor]]:
        """Losses from the outputs of :meth:`forward`.

        Heat maps are divided by their number of peaks and offsets by the number of objects, both
        averaged over the processes (the official code counts in each process). Embeddings are
        summed over the images of a process, as in the official code, so their weight against the
        others grows with the images per process (6 in the official training).

        Args:
            tl_heats (list[Tensor]): See :meth:`forward`.
            br_heats (list[Tensor]): See :meth:`forward`.
            ct_heats (list[Tensor]): See :meth:`forward`.
            tl_tags (list[Tensor]): See :meth:`forward`.
            br_tags (list[Tensor]): See :meth:`forward`.
            tl_offsets (list[Tensor]): See :meth:`forward`.
            br_offsets (list[Tensor]): See :meth:`forward`.
            ct_offsets (list[Tensor]): See :meth:`forward`.
            batch_gt_instances (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
            batch_img_metas (list[dict]): See :meth:`targets`.
            batch_gt_instances_ignore (list[InstanceData] | None): Not used, as in the official
                code.

        Returns:
            dict: ``loss_heatmap``, ``loss_pull``, ``loss_push`` and ``loss_offset``, with a value
            per stack, each divided by the number of stacks.
        """
        targets = self.targets(batch_gt_instances, batch_img_metas, tl_heats[0].shape[-2:])
        counts = [t.heat.eq(1).sum() for t in targets]
        counts.append(counts[0].new_tensor(len(targets[0].images)))
        *peaks, objects = reduce_mean(torch.stack(counts).float()).unbind()
        losses: dict[str, list[Tensor]] = {
            f"loss_{name}": [] for name in ("heatmap", "pull", "push", "offset")
        }
        for stack in range(self.num_stacks):
            heats = (tl_heats[stack], br_heats[stack], ct_heats[stack])
            offsets = (tl_offsets[stack], br_offsets[stack], ct_offsets[stack])
            values = (
                sum(
                    heat_loss(self.loss_heatmap, logits, target.heat, count)
                    for logits, target, count in zip(heats, targets, peaks, strict=True)
                ),
                *self._embedding_losses(tl_tags[stack], br_tags[stack], targets),
                sum(
                    self.loss_offset(
                        target.gather(offset).float(),
                        target.offsets.float(),
                        avg_factor=objects + COUNT_EPS,
                    )
                    for offset, target in zip(offsets, targets, strict=True)
                ),
            )
            for name, value in zip(losses, values, strict=True):
                losses[name].append(value / self.num_stacks)
        return losses

    def _embedding_losses(
        self, tl_tags: Tensor, br_tags: Tensor, targets: Sequence[KeypointTargets]
    ) -> tuple[Tensor, Tensor]:
        """Pull and push, for the embeddings at the corners, padded to the fullest image."""
        sizes = torch.bincount(targets[0].images, minlength=len(tl_tags)).tolist()
        tags = [
            pad_sequence(target.gather(tag)[:, 0].float().split(sizes), batch_first=True)
            for tag, target in ((tl_tags, targets[0]), (br_tags, targets[1]))
        ]
        places = torch.arange(max(sizes), device=tl_tags.device)
        return self.loss_embedding(*tags, places < places.new_tensor(sizes)[:, None])

    def candidates(
        self, x: Sequence[Tensor], batch_img_metas: list[dict], rescale: bool = True
    ) -> list[TripletCandidates]:
        """Corner pairs and centres of each image, before the centre check.

        Args:
            x (Sequence[Tensor]): As for :meth:`forward`; only the last stack is computed.
            batch_img_metas (list[dict]): See :func:`to_image`.
            rescale (bool): Whether to go back to the original image.

        Returns:
            list[TripletCandidates]: One per image, in pixels.
        """
        maps = self.forward_stack(x[-1], self.num_stacks - 1)
        return self._decode(maps, batch_img_metas, self.test_cfg, rescale)

    def predict(
        self, x: Sequence[Tensor], batch_data_samples: SampleList, rescale: bool = False
    ) -> InstanceList:
        """Detect in one view of each image, see :meth:`predict_by_feat`.

        Only the last stack is computed.
        """
        maps = self.forward_stack(x[-1], self.num_stacks - 1)
        metas = [sample.metainfo for sample in batch_data_samples]
        return self.predict_by_feat(*([m] for m in maps), batch_img_metas=metas, rescale=rescale)

    def predict_by_feat(
        self,
        tl_heats: list[Tensor],
        br_heats: list[Tensor],
        ct_heats: list[Tensor],
        tl_tags: list[Tensor],
        br_tags: list[Tensor],
        tl_offsets: list[Tensor],
        br_offsets: list[Tensor],
        ct_offsets: list[Tensor],
        batch_img_metas: list[dict],
        cfg: OptConfigType = None,
        rescale: bool = False,
    ) -> InstanceList:
        """Detections from the outputs of :meth:`forward`, of which the last stack counts.

        Without ``rescale`` the centre check sees boxes in the pixels of the resized image, so
        other boxes may count as large.

        Args:
            tl_heats (list[Tensor]): See :meth:`forward`.
            br_heats (list[Tensor]): See :meth:`forward`.
            ct_heats (list[Tensor]): See :meth:`forward`.
            tl_tags (list[Tensor]): See :meth:`forward`.
            br_tags (list[Tensor]): See :meth:`forward`.
            tl_offsets (list[Tensor]): See :meth:`forward`.
            br_offsets (list[Tensor]): See :meth:`forward`.
            ct_offsets (list[Tensor]): See :meth:`forward`.
            batch_img_metas (list[dict]): See :func:`to_image`.
            cfg (dict | None): Replaces ``test_cfg``.
            rescale (bool): Whether boxes go back to the original image.

        Returns:
            list[InstanceData]: ``bboxes`` (K, 4), ``scores`` (K,) and ``labels`` (K,) per image.
        """
        cfg = self.test_cfg if cfg is None else cfg
        maps = (tl_heats, br_heats, ct_heats, tl_tags, br_tags, tl_offsets, br_offsets, ct_offsets)
        images = self._decode([m[-1] for m in maps], batch_img_metas, cfg, rescale)
        settings = {key: cfg[key] for key in ("center_check", "nms", "max_per_img")}
        return [detect_triplets([image], **settings) for image in images]

    @staticmethod
    def _decode(
        maps: Sequence[Tensor], metas: list[dict], cfg: ConfigType, rescale: bool
    ) -> list[TripletCandidates]:
        """Decode the maps of a batch and take each image's candidates to its pixels."""
        settings = ("num_peaks", "kernel", "max_tag_distance", "num_pairs")
        batch = decode_triplets(*maps, **{key: cfg[key] for key in settings})
        return [
            to_image(
                TripletCandidates(*(part[i] for part in batch)),
                maps[0].shape[-2:],
                meta,
                rescale=rescale,
            )
            for i, meta in enumerate(metas)
        ]
