"""Heat maps and offsets that the full CenterNet++ head learns."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor


class KeypointTargets(NamedTuple):
    """What the cells of a batch should predict for top-left corner, bottom-right corner, centre.

    Attributes:
        heat (Tensor): (B, N, 3) in [0, 1], exactly 1 at the cell nearest to a key point.
        offset (Tensor): (B, N, 3, 2) x, y from that cell to the key point, in strides.
        positive (Tensor): (B, N, 3) whether the cell is the nearest to a key point.
        num_pos (Tensor): (3,) number of those cells, at least one counted per image.
    """

    heat: Tensor
    offset: Tensor
    positive: Tensor
    num_pos: Tensor


def gaussian_radius(wh: Tensor, min_overlap: float) -> Tensor:
    """Return how far both corners may move while the IoU stays above a bound.

    The same as mmdet's ``gaussian_radius`` (the corrected CornerNet formula), for all boxes at
    once, and without the cancellation that costs it its digits for long thin boxes.

    Args:
        wh (Tensor): (G, 2) widths and heights in pixels.
        min_overlap (float): Smallest IoU.

    Returns:
        Tensor: (G,) radii in pixels.
    """
    total, area = wh.sum(-1), wh.prod(-1)
    lost = (1 - min_overlap) * area
    shifted = lost / (1 + min_overlap)
    radii = (
        2 * shifted / (total + (total**2 - 4 * shifted).sqrt()),
        lost / (total + (total**2 - 4 * lost).sqrt()),
        lost / (min_overlap * total + ((min_overlap * total) ** 2 + 4 * min_overlap * lost).sqrt()),
    )
    return torch.stack(radii).amin(0)


def keypoint_targets(
    gt_instances: Sequence[InstanceData],
    shapes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    valid: Tensor,
    min_overlap: float = 0.7,
) -> KeypointTargets:
    """Paint the key points of all boxes on all levels, whatever the size of the box.

    A key point is a Gaussian with standard deviation (2r + 1) / 6 over the cells nearer than the
    radius r, and 1 at the nearest cell of all. Where several meet, the maximum counts, and the
    offset is that of the last box.

    Args:
        gt_instances (Sequence[InstanceData]): ``bboxes`` (G, 4) in pixels of each image, with
            extent.
        shapes (Sequence[tuple[int, int]]): Height and width of each level in cells.
        strides (Sequence[int]): Pixels per cell of each level.
        valid (Tensor): (B, N) cells in the image rather than in the batch's padding; a rectangle
            per level that begins at the first cell.
        min_overlap (float): See :func:`gaussian_radius`.

    Returns:
        KeypointTargets: Targets of the whole batch, the levels one after the other.
    """
    boxes = torch.cat([gt.bboxes for gt in gt_instances]).float()
    counts = torch.tensor([len(gt.bboxes) for gt in gt_instances], device=boxes.device)
    image = torch.arange(len(gt_instances), device=boxes.device).repeat_interleave(counts)
    top_left, bottom_right = boxes[:, :2], boxes[:, 2:]
    # (3G, 2): the boxes of the batch in order, once per kind of key point.
    points = torch.cat((top_left, bottom_right, (top_left + bottom_right) / 2))
    radius = gaussian_radius(bottom_right - top_left, min_overlap).repeat(3)
    maps = image.repeat(3) + len(counts) * torch.arange(3, device=boxes.device).repeat_interleave(
        len(boxes)
    )

    heats, offsets, positives = [], [], []
    inside = valid.split([h * w for h, w in shapes], 1)
    for (height, width), stride, level in zip(shapes, strides, inside, strict=True):
        rectangle = level.unflatten(1, (height, width))
        last = torch.stack((rectangle.any(1).sum(1), rectangle.any(2).sum(1)), -1) - 1  # x, y
        heat, offset, positive = _paint_level(
            points, radius, maps, last.repeat(3, 1), (height, width), stride
        )
        heats.append(heat)
        offsets.append(offset)
        positives.append(positive)
    # (3, B, N) -> (B, N, 3)
    heat, positive = (torch.cat(parts, 2).permute(1, 2, 0) for parts in (heats, positives))
    offset = torch.cat(offsets, 2).permute(1, 2, 0, 3)
    return KeypointTargets(heat, offset, positive, positive.sum(1).clamp(min=1).sum(0))


def _paint_level(
    points: Tensor,
    radius: Tensor,
    maps: Tensor,
    last: Tensor,
    shape: tuple[int, int],
    stride: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Paint one level of all images.

    Only the cells within a point's radius are visited, as one list over all points, so that time
    and memory follow the painted area and not the number of points times the size of the maps.

    Args:
        points (Tensor): (P, 2) x, y in pixels.
        radius (Tensor): (P,) in pixels.
        maps (Tensor): (P,) which of the 3B maps each point belongs to.
        last (Tensor): (3B, 2) x, y of the last cell of each map that can be painted.
        shape (tuple[int, int]): Height and width of the map in cells.
        stride (int): Pixels per cell.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Heat (3, B, H * W), offsets (3, B, H * W, 2) and positive
        cells (3, B, H * W).
    """
    width, cells = shape[1], shape[0] * shape[1]
    start, limit = maps * cells, last[maps]
    low = ((points - radius[:, None]) / stride).ceil().clamp(min=0).minimum(limit + 1).long()
    high = ((points + radius[:, None]) / stride).floor().clamp(min=-1).minimum(limit).long()
    columns, rows = (high - low + 1).clamp(min=0).unbind(1)
    visits = columns * rows
    owner = torch.arange(len(points), device=points.device).repeat_interleave(visits)
    nth = torch.arange(len(owner), device=points.device) - (visits.cumsum(0) - visits)[owner]
    x, y = low[owner, 0] + nth % columns[owner], low[owner, 1] + nth // columns[owner]
    squared = (torch.stack((x, y), -1) * stride - points[owner]).square().sum(-1)
    value = (-squared / (2 * ((2 * radius[owner] + 1) / 6) ** 2)).exp()
    value = torch.where(squared < radius[owner] ** 2, value, 0)
    heat = points.new_zeros(len(last) * cells)
    heat.scatter_reduce_(0, start[owner] + y * width + x, value, "amax")

    # Of two cells at the same distance the first: half is rounded down.
    nearest = (points / stride - 0.5).ceil().clamp(min=0).minimum(limit).long()
    index = start + nearest[:, 1] * width + nearest[:, 0]
    heat[index] = 1.0
    final = torch.full_like(heat, -1, dtype=torch.long)
    final.scatter_reduce_(0, index, torch.arange(len(points), device=points.device), "amax")
    positive = final >= 0
    offset = points.new_zeros((len(heat), 2))
    offset[positive] = (points / stride - nearest)[final[positive]]
    return (
        heat.view(3, -1, cells),
        offset.view(3, -1, cells, 2),
        positive.view(3, -1, cells),
    )
