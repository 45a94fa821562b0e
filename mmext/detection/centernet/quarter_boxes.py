"""Geometry of quarter boxes: how CenterNet++ writes an object as two boxes that meet at its centre.

The *top-left quarter box* of an object reaches from its top-left corner to its centre, the
*bottom-right quarter box* from its centre to its bottom-right corner. Each is predicted as a set
of points relative to a cell of a feature map, of which the first two are the box.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def split_boxes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Split boxes at their centres into top-left and bottom-right quarter boxes.

    Args:
        boxes (Tensor): (..., 4) boxes x1, y1, x2, y2 in pixels.

    Returns:
        tuple[Tensor, Tensor]: Top-left quarters (x1, y1, cx, cy) and bottom-right quarters
        (cx, cy, x2, y2), both (..., 4).
    """
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    centre = (top_left + bottom_right) / 2
    return torch.cat((top_left, centre), -1), torch.cat((centre, bottom_right), -1)


def points_to_boxes(point_sets: Tensor, grid: Tensor) -> Tensor:
    """Decode point sets into quarter boxes.

    Only the first two points count: the first is the upper left corner, the second the lower
    right one. The others are free sampling places of the deformable convolution of the full head.

    Args:
        point_sets (Tensor): (..., N, 2K) points as y, x pairs, in strides, relative to their cell.
        grid (Tensor): (N, 3) or (..., N, 3) x, y and stride of each cell in pixels.

    Returns:
        Tensor: (..., N, 4) quarter boxes x1, y1, x2, y2 in pixels.
    """
    corners = point_sets[..., [1, 0, 3, 2]]
    return corners * grid[..., 2:3] + grid[..., [0, 1, 0, 1]]


def boxes_to_points(boxes: Tensor, grid: Tensor) -> Tensor:
    """Encode quarter boxes as their two points, the inverse of :func:`points_to_boxes`.

    Args:
        boxes (Tensor): (..., N, 4) quarter boxes x1, y1, x2, y2 in pixels.
        grid (Tensor): (N, 3) x, y and stride of each cell in pixels.

    Returns:
        Tensor: (..., N, 4) y, x of the upper left point, y, x of the lower right one, in strides.
    """
    corners = (boxes - grid[:, [0, 1, 0, 1]]) / grid[:, 2:3]
    return corners[..., [1, 0, 3, 2]]


def clamp_boxes(boxes: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
    """Move what lies outside of an image to its border.

    Args:
        boxes (Tensor): (B, M, 4) boxes x1, y1, x2, y2 in pixels.
        batch_img_metas (Sequence[dict]): ``img_shape`` of each image.

    Returns:
        Tensor: (B, M, 4).
    """
    limits = boxes.new_tensor([[*meta["img_shape"][1::-1]] * 2 for meta in batch_img_metas])
    return boxes.clamp(min=0).minimum(limits[:, None])


def flatten_levels(maps: Sequence[Tensor]) -> Tensor:
    """Line up the cells of all levels, in the order of the grid.

    Args:
        maps (Sequence[Tensor]): One (B, C, H, W) map per level.

    Returns:
        Tensor: (B, N, C) float32, N being the number of cells of all levels. Losses and box
        geometry lose too much in half precision, hence the type.
    """
    return torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1).float()
