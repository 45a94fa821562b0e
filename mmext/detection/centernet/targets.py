"""Training targets of CenterNet++: cells for quarter boxes, and the box-semantic map."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmdet.models.task_modules.assigners import BaseAssigner
from mmengine.structures import InstanceData
from torch import Tensor


class QuarterTargets(NamedTuple):
    """What the cells of a batch should predict for one kind of quarter box.

    Attributes:
        labels (Tensor): (B, N) class index, ``num_classes`` for background.
        boxes (Tensor): (B, N, 4) quarter boxes x1, y1, x2, y2 in pixels, zero for background.
        num_pos (Tensor): Scalar, the number of positive cells, at least one counted per image.
    """

    labels: Tensor
    boxes: Tensor
    num_pos: Tensor


def quarter_targets(
    assigner: BaseAssigner,
    candidates: Tensor,
    valid: Tensor,
    level_sizes: Sequence[int],
    gt_quarters: Sequence[Tensor],
    gt_labels: Sequence[Tensor],
    num_classes: int,
) -> QuarterTargets:
    """Assign the quarter boxes of each image to its cells.

    Args:
        assigner (BaseAssigner): Of points (init stage) or of boxes (refine stage).
        candidates (Tensor): (B, N, 3) cells x, y, stride or (B, N, 4) predicted quarter boxes.
        valid (Tensor): (B, N) cells that lie in the image rather than in the batch's padding.
        level_sizes (Sequence[int]): Number of cells per level.
        gt_quarters (Sequence[Tensor]): (G, 4) quarter boxes of each image, in pixels.
        gt_labels (Sequence[Tensor]): (G,) labels of each image.
        num_classes (int): Number of classes, at the same time the label of the background.

    Returns:
        QuarterTargets: Targets of the whole batch.
    """
    labels = valid.new_full(valid.shape, num_classes, dtype=torch.long)
    boxes = candidates.new_zeros((*valid.shape, 4))
    for i, (quarters, classes) in enumerate(zip(gt_quarters, gt_labels, strict=True)):
        if len(quarters) == 0:
            continue
        inside = valid[i].nonzero().squeeze(1)
        result = assigner.assign(
            InstanceData(priors=candidates[i, inside]),
            num_level_priors=[int(level.sum()) for level in valid[i].split(list(level_sizes))],
            gt_instances=InstanceData(bboxes=quarters, labels=classes),
        )
        positive = result.gt_inds > 0
        owner = result.gt_inds[positive] - 1
        labels[i, inside[positive]] = classes[owner]
        boxes[i, inside[positive]] = quarters[owner]
    num_pos = (labels < num_classes).sum(1).clamp(min=1).sum()
    return QuarterTargets(labels, boxes, num_pos)


def semantic_weights(
    gt_instances: Sequence[InstanceData], num_classes: int, size: tuple[int, int], stride: int
) -> Tensor:
    """Paint boxes on class maps: inside a box its class is present.

    The official pipeline paints the boxes of an image from the largest to the smallest, each with
    the inverse of its area. So a cell ends with the largest inverse area of its class, and that
    maximum is what is computed here, for all boxes at once.

    Args:
        gt_instances (Sequence[InstanceData]): ``bboxes`` (G, 4) in pixels and ``labels`` (G,) of
            each image, areas above zero.
        num_classes (int): Number of classes C.
        size (tuple[int, int]): Height H and width W of the map in cells.
        stride (int): Pixels per cell.

    Returns:
        Tensor: (B, C, H, W) 1 / area in px^-2 of the smallest box of that class over the cell,
        0 where there is none.
    """
    maps = []
    for instances in gt_instances:
        boxes, labels = instances.bboxes.float(), instances.labels
        x1, y1, x2, y2 = (boxes / stride).floor().unsqueeze(-1).unbind(1)
        rows = torch.arange(size[0], device=boxes.device)
        cols = torch.arange(size[1], device=boxes.device)
        in_rows = (rows >= y1) & (rows <= y2)  # (G, H)
        in_cols = (cols >= x1) & (cols <= x2)  # (G, W)
        inverse_area = 1 / (boxes[:, 2:] - boxes[:, :2]).prod(-1)
        painted = (in_rows * inverse_area[:, None])[:, :, None] * in_cols[:, None, :]
        canvas = boxes.new_zeros((num_classes, *size))
        index = labels[:, None, None].expand_as(painted)
        maps.append(canvas.scatter_reduce(0, index, painted, "amax"))
    return torch.stack(maps)
