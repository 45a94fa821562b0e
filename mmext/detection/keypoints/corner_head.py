"""What the heads of corner detectors share: branches per stack, their losses, the test."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.utils import multi_apply
from mmdet.structures import SampleList
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptMultiConfig, reduce_mean
from torch import Tensor, nn

from mmext.registry import MODELS

from .predictor import COUNT_EPS, HEAT_BIAS, heat_loss, predictor
from .targets import CellObjects, KeypointTargets, RadiusForm, objects_in_cells

Outputs = tuple[list[Tensor], ...]
Losses = dict[str, list[Tensor]]


class CornerHead(BaseDenseHead):
    """Base of the heads that find key points in one feature map per stack of an hourglass.

    A subclass calls :meth:`add_stack` for every stack, and has :meth:`decode`, ``loss_by_feat`` and
    ``predict_by_feat``.

    Args:
        num_classes (int): Number of classes C.
        in_channels (int): Channels of the feature maps.
        feat_channels (int): Channels inside the predictors.
        num_stacks (int): Number of feature maps.
        outputs (dict): For each kind of output (``heats``, ``offsets``, ...) the names of its key
            points and the number of its channels.
        radius_form (str): See :func:`mmext.detection.keypoints.targets.gaussian_radius`.
        min_radius (int): Least radius of a bump, in cells.
        loss_heatmap (dict): Loss of the heat maps, on probabilities.
        loss_offset (dict): Loss of the offsets, in cells.
        train_cfg (dict | None): Settings of the training.
        test_cfg (dict | None): Settings of the test.
        init_cfg (dict | None): For mmengine.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        feat_channels: int,
        num_stacks: int,
        outputs: Mapping[str, tuple[Sequence[str], int]],
        radius_form: RadiusForm,
        min_radius: int = 0,
        loss_heatmap: ConfigType,
        loss_offset: ConfigType,
        train_cfg: OptConfigType,
        test_cfg: OptConfigType,
        init_cfg: OptMultiConfig,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.feat_channels = feat_channels
        self.num_stacks = num_stacks
        self.outputs = dict(outputs)
        self.radius_form = radius_form
        self.min_radius = min_radius
        self.loss_heatmap = MODELS.build(loss_heatmap)
        self.loss_offset = MODELS.build(loss_offset)
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg
        for name in ("pools", *outputs):
            self.add_module(name, nn.ModuleList())

    def add_stack(self, pools: dict[str, nn.Module]) -> None:
        """Build the predictors of one more stack.

        Args:
            pools (dict[str, nn.Module]): The pooling in front of each key point's predictors.
        """
        self.pools.append(nn.ModuleDict(pools))
        for name, (points, channels) in self.outputs.items():
            build = (self.in_channels, self.feat_channels, channels)
            getattr(self, name).append(nn.ModuleDict({p: predictor(*build) for p in points}))

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
            tuple[list[Tensor], ...]: A list over stacks for each map of :meth:`forward_stack`.

        Raises:
            ValueError: The number of maps is not ``num_stacks``.
        """
        if len(feats) != self.num_stacks:
            raise ValueError(
                f"{type(self).__name__} got {len(feats)} feature maps but has num_stacks="
                f"{self.num_stacks}: set model.bbox_head.num_stacks to the stacks of the "
                "hourglass, or let the neck give one map."
            )
        return multi_apply(self.forward_stack, feats, range(self.num_stacks))

    def forward_stack(self, x: Tensor, stack: int) -> tuple[Tensor, ...]:
        """Predict from one stack.

        Args:
            x (Tensor): (B, in_channels, H, W).
            stack (int): Its number.

        Returns:
            tuple[Tensor, ...]: The maps of all outputs, one after the other, of each the maps of
            its key points.
        """
        feats = {point: pool(x) for point, pool in self.pools[stack].items()}
        return tuple(
            getattr(self, name)[stack][point](feats[point])
            for name, (points, _) in self.outputs.items()
            for point in points
        )

    def objects(
        self,
        batch_gt_instances: InstanceList,
        batch_img_metas: list[dict],
        map_shape: Sequence[int],
    ) -> CellObjects:
        """Objects of the batch in cells, see :func:`objects_in_cells`."""
        return objects_in_cells(
            batch_gt_instances,
            batch_img_metas,
            map_shape,
            num_classes=self.num_classes,
            radius_form=self.radius_form,
            min_radius=self.min_radius,
        )

    def keypoint_losses(
        self,
        heats: Sequence[list[Tensor]],
        offsets: Sequence[list[Tensor]],
        targets: Sequence[KeypointTargets],
    ) -> Losses:
        """Losses of heat maps and offsets.

        Heat maps are divided by their number of peaks and offsets by the number of objects, both
        averaged over the processes (the official code counts in each process).

        Args:
            heats (Sequence[list[Tensor]]): For each kind of key point a list over stacks of
                (B, C, H, W) logits.
            offsets (Sequence[list[Tensor]]): Likewise (B, 2, H, W) offsets.
            targets (Sequence[KeypointTargets]): Of each kind of key point.

        Returns:
            dict: ``loss_heatmap`` and ``loss_offset``, with a value per stack, each divided by the
            number of stacks.
        """
        counts = [target.heat.eq(1).sum() for target in targets]
        counts.append(counts[0].new_tensor(len(targets[0].images)))
        *peaks, objects = reduce_mean(torch.stack(counts).float()).unbind()
        losses: Losses = dict(loss_heatmap=[], loss_offset=[])
        for stack in range(self.num_stacks):
            heat, offset = 0, 0
            for logits, shift, target, count in zip(heats, offsets, targets, peaks, strict=True):
                heat += heat_loss(self.loss_heatmap, logits[stack], target.heat, count)
                offset += self.loss_offset(
                    target.gather(shift[stack]).float(),
                    target.offsets.float(),
                    avg_factor=objects + COUNT_EPS,
                )
            losses["loss_heatmap"].append(heat / self.num_stacks)
            losses["loss_offset"].append(offset / self.num_stacks)
        return losses

    def decode(
        self, maps: Sequence[Tensor], batch_img_metas: list[dict], cfg: ConfigType, rescale: bool
    ) -> list[NamedTuple]:
        """Turn the maps of a stack into candidates.

        Args:
            maps (Sequence[Tensor]): See :meth:`forward_stack`.
            batch_img_metas (list[dict]): See :meth:`mmext.detection.keypoints.views.View.of`.
            cfg (dict): ``test_cfg``.
            rescale (bool): Whether to go back to the original image.

        Returns:
            list[NamedTuple]: Per image, in pixels.
        """
        raise NotImplementedError

    def candidates(
        self, x: Sequence[Tensor], batch_img_metas: list[dict], rescale: bool = True
    ) -> list[NamedTuple]:
        """What is found in one view of each image, before views are merged.

        Args:
            x (Sequence[Tensor]): One (B, in_channels, H, W) map per stack.
            batch_img_metas (list[dict]): See :meth:`decode`.
            rescale (bool): Whether to go back to the original image.

        Returns:
            list[NamedTuple]: Per image, in pixels.
        """
        maps = self.forward_stack(x[-1], self.num_stacks - 1)
        return self.decode(maps, batch_img_metas, self.test_cfg, rescale)

    def predict(
        self, x: Sequence[Tensor], batch_data_samples: SampleList, rescale: bool = False
    ) -> InstanceList:
        """Detect in one view of each image, see ``predict_by_feat``.

        Only the last stack is computed.
        """
        maps = self.forward_stack(x[-1], self.num_stacks - 1)
        metas = [sample.metainfo for sample in batch_data_samples]
        return self.predict_by_feat(*([m] for m in maps), batch_img_metas=metas, rescale=rescale)
