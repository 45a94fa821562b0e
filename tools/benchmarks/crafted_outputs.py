"""Raw outputs of detection heads as a trained network makes them, without training one."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mmext.detection.centernet.quarter_boxes import boxes_to_points, split_boxes

# Logits of the background: one in two thousand is above a score of 0.05.
BACKGROUND_MEAN, BACKGROUND_STD = -5.0, 0.62
# Cells around the middle of a box that see it, and how sure they are.
REACH = 1
OBJECT_MEAN, OBJECT_STD = 0.0, 1.2


def level_shapes(height: int, width: int, strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return rows and columns of the levels for an image of ``height`` x ``width`` pixels."""
    return [(-(-height // stride), -(-width // stride)) for stride in strides]


def random_objects(count: int, height: int, width: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Draw objects of sides from 16 pixels to half the image, as many small as large ones.

    Args:
        count (int): Number of objects.
        height (int): Of the image, in pixels.
        width (int): Of the image, in pixels.
        num_classes (int): Number of classes.

    Returns:
        tuple[Tensor, Tensor]: (count, 4) boxes x1, y1, x2, y2 in pixels and (count,) classes.
    """
    limit = torch.tensor([width, height]).float()
    size = 16 * (limit / 32) ** torch.rand(count, 2)
    corner = torch.rand(count, 2) * (limit - size)
    return torch.cat((corner, corner + size), 1), torch.randint(num_classes, (count,))


def crafted_branch(
    boxes: Tensor,
    labels: Tensor,
    shapes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    num_classes: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """Make class logits and boxes of one image, for one kind of box.

    A box is seen on the level on which it is about four cells large, by the cells around its
    middle, each of which is a little wrong about its corners and its class.

    Args:
        boxes (Tensor): (N, 4) boxes in pixels.
        labels (Tensor): (N,) classes.
        shapes (Sequence[tuple[int, int]]): Rows and columns of each level.
        strides (Sequence[int]): Pixels per cell of each level.
        num_classes (int): Number of classes C.

    Returns:
        tuple[list[Tensor], list[Tensor]]: Logits (1, C, H, W), and corners (1, 4, H, W) as y1, x1,
        y2, x2 in strides relative to the cell, per level.
    """
    side = (boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt().clamp(min=1)
    finest = torch.tensor(float(strides[0])).log2()
    level_of = ((side / 4).log2() - finest).round().clamp(0, len(strides) - 1).long()
    steps = torch.arange(-REACH, REACH + 1)
    around = torch.cartesian_prod(steps, steps)  # rows, columns
    logits, corners = [], []
    for level, ((height, width), stride) in enumerate(zip(shapes, strides, strict=True)):
        score = BACKGROUND_MEAN + BACKGROUND_STD * torch.randn(num_classes, height, width)
        corner = torch.tensor([-2.0, -2.0, 2.0, 2.0])[:, None, None] + torch.randn(4, height, width)
        mine = level_of == level
        middle = (boxes[mine, :2] + boxes[mine, 2:]).flip(1) / 2 / stride
        cells = (middle.round().long()[:, None] + around).flatten(0, 1)
        row, column = (
            cells.clamp(min=torch.tensor(0))
            .minimum(torch.tensor([height - 1, width - 1]))
            .unbind(1)
        )
        seen = boxes[mine].repeat_interleave(len(around), 0)
        seen = seen + 0.04 * side[mine].repeat_interleave(len(around))[:, None] * torch.randn(
            len(seen), 4
        )
        grid = torch.stack((column, row, torch.ones_like(row)), 1) * stride
        corner[:, row, column] = boxes_to_points(seen, grid.float()).T
        label = labels[mine].repeat_interleave(len(around))
        score[label, row, column] = OBJECT_MEAN + OBJECT_STD * torch.randn(len(seen))
        other = torch.randint(num_classes, (len(seen),))
        score[other, row, column] = score[label, row, column] - 2
        logits.append(score[None])
        corners.append(corner[None])
    return logits, corners


def crafted_keypoints(
    boxes: Tensor, shapes: Sequence[tuple[int, int]], strides: Sequence[int]
) -> tuple[list[Tensor], list[Tensor]]:
    """Make heat maps of corners and centres and their offsets, of one image.

    Args:
        boxes (Tensor): (N, 4) boxes in pixels.
        shapes (Sequence[tuple[int, int]]): Rows and columns of each level.
        strides (Sequence[int]): Pixels per cell of each level.

    Returns:
        tuple[list[Tensor], list[Tensor]]: Logits (1, 3, H, W) and offsets (1, 6, H, W) in strides.
    """
    top_left, bottom_right = boxes[:, :2], boxes[:, 2:]
    scores, offsets = [], []
    for (height, width), stride in zip(shapes, strides, strict=True):
        score = torch.randn(1, 3, height, width) - 4
        offset = torch.randn(1, 6, height, width) / 4
        for index, point in enumerate((top_left, bottom_right, (top_left + bottom_right) / 2)):
            cell = (point / stride).round().long()
            cell = cell.clamp(min=torch.tensor(0)).minimum(torch.tensor([width - 1, height - 1]))
            column, row = cell.unbind(1)
            score[0, index, row, column] = 3 + torch.randn(len(boxes))
            offset[0, 2 * index : 2 * index + 2, row, column] = (point / stride - cell).T
        scores.append(score)
        offsets.append(offset)
    return scores, offsets


def crafted_outputs(
    boxes: Tensor,
    labels: Tensor,
    shapes: Sequence[tuple[int, int]],
    strides: Sequence[int],
    num_classes: int,
) -> tuple[list[Tensor], ...]:
    """Make the nine outputs of a full CenterNet++ head for one image.

    Args:
        boxes (Tensor): (N, 4) objects in pixels.
        labels (Tensor): (N,) classes.
        shapes (Sequence[tuple[int, int]]): Rows and columns of each level.
        strides (Sequence[int]): Pixels per cell of each level.
        num_classes (int): Number of classes.

    Returns:
        tuple[list[Tensor], ...]: See ``CenterNetPlusPlusHead.forward``. A fast head has the first
        six and the last.
    """
    sides = [
        crafted_branch(quarters, labels, shapes, strides, num_classes)
        for quarters in split_boxes(boxes)
    ]
    (tl_scores, tl_corners), (br_scores, br_corners) = sides
    # Only the first two of the nine points are the box.
    tl_points, br_points = (
        [functional.pad(corner, (0, 0, 0, 0, 0, 14)) for corner in corners]
        for corners in (tl_corners, br_corners)
    )
    keypoints = crafted_keypoints(boxes, shapes, strides)
    points = (tl_points, br_points)
    return tl_scores, br_scores, *points, *points, *keypoints, tl_scores
