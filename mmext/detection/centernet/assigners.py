"""Assignment of ground truth to cells."""

from typing import Any

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmengine.structures import InstanceData

from mmext.registry import TASK_UTILS


@TASK_UTILS.register_module()
class NearestPointAssigner(BaseAssigner):
    """Give each box the one nearest cell of the level that fits its size.

    The same assignment as mmdet's ``PointAssigner(scale=scale, pos_num=1)``, for all boxes at once
    instead of in a Python loop over them, which on a CPU costs more than the losses.

    The level of a box is ``(log2(w / scale) + log2(h / scale)) / 2``, truncated and clamped to the
    levels there are. Distances are measured in widths and heights of the box. A cell wanted by
    several boxes goes to the nearest one.

    Args:
        scale (float): A box of ``scale`` strides belongs to the level of that stride.
    """

    def __init__(self, scale: float = 4) -> None:
        self.scale = scale

    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """Assign boxes to cells.

        Args:
            pred_instances (InstanceData): ``priors`` (N, 3) x, y and stride of cells in pixels.
            gt_instances (InstanceData): ``bboxes`` (G, 4) x1, y1, x2, y2 in pixels, and ``labels``
                (G,).
            gt_instances_ignore (InstanceData | None): Not used, part of the interface.
            **kwargs (Any): Not used, part of the interface.

        Returns:
            AssignResult: ``gt_inds`` (N,) 0 for background, k + 1 for box k, and ``labels`` (N,),
            -1 for background.
        """
        cells, boxes = pred_instances.priors, gt_instances.bboxes
        num_cells, num_gts = len(cells), len(boxes)
        gt_inds = cells.new_zeros(num_cells, dtype=torch.long)
        labels = torch.full_like(gt_inds, -1)
        if num_gts == 0 or num_cells == 0:
            return AssignResult(num_gts, gt_inds, None, labels=labels)

        cell_level = cells[:, 2].log2().int()
        wh = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
        box_level = ((wh / self.scale).log2().sum(-1) / 2).int()
        box_level = box_level.clamp(min=cell_level.min(), max=cell_level.max())

        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        distance = ((cells[None, :, :2] - centres[:, None]) / wh[:, None]).norm(dim=-1)  # (G, N)
        distance.masked_fill_(cell_level[None] != box_level[:, None], torch.inf)
        nearest, cell = distance.min(dim=1)

        shortest = nearest.new_full((num_cells,), torch.inf)
        shortest.scatter_reduce_(0, cell, nearest, "amin")
        wins = nearest == shortest[cell]
        owner = torch.full_like(gt_inds, num_gts)
        box_index = torch.arange(num_gts, device=cells.device)
        owner.scatter_reduce_(0, cell[wins], box_index[wins], "amin")

        taken = owner < num_gts
        gt_inds[taken] = owner[taken] + 1
        labels[taken] = gt_instances.labels[owner[taken]]
        return AssignResult(num_gts, gt_inds, None, labels=labels)
