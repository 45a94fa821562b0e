"""Assignment of ground truth to cells, for all boxes at once.

mmdet has both assigners, with a Python loop over boxes and with tables of all cells by all boxes.
That costs several times as much as the losses, which shows when training on a CPU.
"""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.task_modules.assigners import AssignResult, BaseAssigner
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import Tensor

from mmext.registry import TASK_UTILS


def assign_to_best(
    num_cells: int, gt_labels: Tensor, cells: Tensor, boxes: Tensor, cost: Tensor
) -> AssignResult:
    """Settle which box gets a cell that several boxes want: the one of the least cost.

    Args:
        num_cells (int): Number of cells N.
        gt_labels (Tensor): (G,) labels of the boxes.
        cells (Tensor): (P,) wanted cells.
        boxes (Tensor): (P,) index of the box that wants it; at equal cost the first box wins.
        cost (Tensor): (P,) cost of that.

    Returns:
        AssignResult: ``gt_inds`` (N,) 0 for background, k + 1 for box k, and ``labels`` (N,), -1
        for background.
    """
    least = cost.new_full((num_cells,), torch.inf).scatter_reduce(0, cells, cost, "amin")
    wins = cost == least[cells]
    owner = cells.new_full((num_cells,), len(gt_labels))
    owner.scatter_reduce_(0, cells[wins], boxes[wins], "amin")
    taken = owner < len(gt_labels)
    gt_inds = torch.where(taken, owner + 1, 0)
    labels = torch.full_like(gt_inds, -1)
    labels[taken] = gt_labels[owner[taken]]
    return AssignResult(len(gt_labels), gt_inds, None, labels=labels)


@TASK_UTILS.register_module()
class NearestPointAssigner(BaseAssigner):
    """Give each box the one nearest cell of the level that fits its size.

    The same assignment as mmdet's ``PointAssigner(scale=scale, pos_num=1)``.

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
        index = torch.arange(len(boxes), device=cells.device)
        if len(boxes) == 0 or len(cells) == 0:
            return assign_to_best(
                len(cells), gt_instances.labels, index[:0], index[:0], cells[:0, 0]
            )

        cell_level = cells[:, 2].log2().int()
        wh = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-6)
        box_level = ((wh / self.scale).log2().sum(-1) / 2).int()
        box_level = box_level.clamp(min=cell_level.min(), max=cell_level.max())

        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        x, y = ((cells[None, :, i] - centres[:, None, i]) / wh[:, None, i] for i in range(2))
        distance = x.square_().add_(y.square_())  # (G, N), squared
        distance.masked_fill_(cell_level[None] != box_level[:, None], torch.inf)
        nearest, cell = distance.min(dim=1)
        return assign_to_best(len(cells), gt_instances.labels, cell, index, nearest)


@TASK_UTILS.register_module()
class CandidateATSSAssigner(BaseAssigner):
    """Adaptive training sample selection (ATSS, arXiv 1912.02424) on predicted boxes.

    The same assignment as mmdet's ``ATSSAssigner(topk=topk)``. IoUs are computed between a box and
    its candidates only, not between all cells and all boxes.

    The candidates of a box are the ``topk`` predictions per level with the nearest centres. Those
    whose IoU reaches mean plus standard deviation of all its candidates, and whose centre lies in
    the box, are positive. A cell wanted by several boxes goes to the one of the highest IoU.

    Args:
        topk (int): Candidates per box and level.
    """

    def __init__(self, topk: int = 9) -> None:
        self.topk = topk

    def assign(
        self,
        pred_instances: InstanceData,
        num_level_priors: Sequence[int],
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        **kwargs: Any,
    ) -> AssignResult:
        """Assign boxes to cells.

        Args:
            pred_instances (InstanceData): ``priors`` (N, 4): the predicted boxes x1, y1, x2, y2 in
                pixels.
            num_level_priors (Sequence[int]): Number of cells per level.
            gt_instances (InstanceData): ``bboxes`` (G, 4) x1, y1, x2, y2 in pixels, and ``labels``
                (G,).
            gt_instances_ignore (InstanceData | None): Not used, part of the interface.
            **kwargs (Any): Not used, part of the interface.

        Returns:
            AssignResult: ``gt_inds`` (N,) 0 for background, k + 1 for box k, and ``labels`` (N,),
            -1 for background.
        """
        priors, boxes = pred_instances.priors, gt_instances.bboxes
        index = torch.arange(len(boxes), device=priors.device)
        if len(boxes) == 0 or len(priors) == 0:
            return assign_to_best(
                len(priors), gt_instances.labels, index[:0], index[:0], priors[:0, 0]
            )

        centres = (priors[:, :2] + priors[:, 2:]) / 2
        box_centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        x, y = (centres[None, :, i] - box_centres[:, None, i] for i in range(2))
        distance = x.square_().add_(y.square_())  # (G, N), squared
        candidates, start = [], 0
        for level in distance.split(list(num_level_priors), 1):
            count = min(self.topk, level.size(1))
            candidates.append(level.topk(count, dim=1, largest=False).indices + start)
            start += level.size(1)
        candidate = torch.cat(candidates, 1)  # (G, K)

        own_box = boxes[:, None].expand(-1, candidate.size(1), -1)
        iou = bbox_overlaps(priors[candidate], own_box, is_aligned=True)  # (G, K)
        threshold = iou.mean(1, keepdim=True) + iou.std(1, keepdim=True)
        to_sides = torch.cat(
            (centres[candidate] - own_box[..., :2], own_box[..., 2:] - centres[candidate]), -1
        )
        positive = (iou >= threshold) & (to_sides.amin(-1) > 0.01)
        box = index[:, None].expand_as(candidate)[positive]
        return assign_to_best(
            len(priors), gt_instances.labels, candidate[positive], box, -iou[positive]
        )
