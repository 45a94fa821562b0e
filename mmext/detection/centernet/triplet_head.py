"""The head of CenterNet, which detects an object as a triplet of key points."""

from collections.abc import Sequence

import torch
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptInstanceList, OptMultiConfig
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmext.registry import MODELS

from ..keypoints.corner_head import CornerHead, Losses
from ..keypoints.pooling import CascadeCornerPool, CenterPool
from ..keypoints.targets import KeypointTargets, RadiusForm
from .triplet_decode import TripletCandidates, decode_triplets, detect_triplets, to_image

KEYPOINTS = ("tl", "br", "ct")


@MODELS.register_module()
class CenterNetTripletHead(CornerHead):
    """Head of CenterNet: corners paired by embeddings, kept if a centre lies in their middle.

    CenterNet: Keypoint Triplets for Object Detection (Duan et al., arXiv 1904.08189). For each
    stack of an hourglass there are three branches: cascade corner pooling for top-left and
    bottom-right corners, center pooling for centres. All predict a heat map per class and offsets,
    corners also an embedding of one channel. The last stack is decoded, all are trained.

    :meth:`forward` gives eight lists over stacks: heat map logits (B, C, H, W) of top-left corners,
    bottom-right corners and centres, embeddings (B, 1, H, W) of the top-left and the bottom-right
    corners, and x, y offsets (B, 2, H, W) from the cell, in cells, of the three.

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
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            feat_channels=feat_channels,
            num_stacks=num_stacks,
            outputs=dict(
                heats=(KEYPOINTS, num_classes), tags=(KEYPOINTS[:2], 1), offsets=(KEYPOINTS, 2)
            ),
            radius_form=radius_form,
            loss_heatmap=loss_heatmap,
            loss_offset=loss_offset,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            init_cfg=init_cfg,
        )
        self.center_sigma_divisor = center_sigma_divisor
        self.loss_embedding = MODELS.build(loss_embedding)
        pool = dict(feat_channels=pool_channels, norm_cfg=norm_cfg)
        for _ in range(num_stacks):
            self.add_stack(
                dict(
                    tl=CascadeCornerPool(in_channels, ("top", "left"), **pool),
                    br=CascadeCornerPool(in_channels, ("bottom", "right"), **pool),
                    ct=CenterPool(in_channels, **pool),
                )
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
        objects = self.objects(batch_gt_instances, batch_img_metas, map_shape)
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
    ) -> Losses:
        """Losses from the outputs of :meth:`forward`.

        Heat maps and offsets as in :meth:`keypoint_losses`. Embeddings are summed over the images
        of a process, as in the official code, so their weight against the others grows with the
        images per process (6 in the official training).

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
        losses = self.keypoint_losses(
            (tl_heats, br_heats, ct_heats), (tl_offsets, br_offsets, ct_offsets), targets
        )
        embeddings = [
            self._embedding_losses(*tags, targets) for tags in zip(tl_tags, br_tags, strict=True)
        ]
        for name, values in zip(("pull", "push"), zip(*embeddings, strict=True), strict=True):
            losses[f"loss_{name}"] = [value / self.num_stacks for value in values]
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
        images = self.decode([m[-1] for m in maps], batch_img_metas, cfg, rescale)
        settings = {key: cfg[key] for key in ("center_check", "nms", "max_per_img")}
        return [detect_triplets([image], **settings) for image in images]

    def decode(
        self, maps: Sequence[Tensor], batch_img_metas: list[dict], cfg: ConfigType, rescale: bool
    ) -> list[TripletCandidates]:
        """Corner pairs and centres of each image, before the centre check.

        Args:
            maps (Sequence[Tensor]): Eight maps of one stack, see :meth:`forward`.
            batch_img_metas (list[dict]): See :func:`to_image`.
            cfg (dict): ``test_cfg``.
            rescale (bool): Whether to go back to the original image.

        Returns:
            list[TripletCandidates]: One per image, in pixels.
        """
        settings = ("num_peaks", "kernel", "max_tag_distance", "num_pairs")
        batch = decode_triplets(*maps, **{key: cfg[key] for key in settings})
        return [
            to_image(
                TripletCandidates(*(part[i] for part in batch)),
                maps[0].shape[-2:],
                meta,
                rescale=rescale,
            )
            for i, meta in enumerate(batch_img_metas)
        ]
