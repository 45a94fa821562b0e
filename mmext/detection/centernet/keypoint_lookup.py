"""Reading key points off heat maps, for many places at once."""

import torch
from torch import Tensor


def best_of_four(heat: Tensor, points: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Find the highest of the four cells around each place.

    Args:
        heat (Tensor): (B, H, W) heat map.
        points (Tensor): (B, M, 2) x, y in pixels; places outside the map count as on its border.
        stride (int): Pixels per cell.

    Returns:
        tuple[Tensor, Tensor]: (B, M) values, and (B, M, 2) column and row of the cells. Of equal
        cells it is the first in reading order.
    """
    height, width = heat.shape[1:]
    last = torch.tensor([width - 1, height - 1], device=heat.device)
    low = (points / stride).clamp(min=0).minimum((last - 1).clamp(min=0)).long()
    steps = torch.tensor([[0, 0], [1, 0], [0, 1], [1, 1]], device=heat.device)
    cells = (low[:, :, None] + steps).minimum(last)  # (B, M, 4, 2); maps may be one cell wide
    index = cells[..., 1] * width + cells[..., 0]
    values = heat.flatten(1).gather(1, index.flatten(1)).view_as(index)
    best = values.argmax(-1, keepdim=True)
    cell = cells.gather(2, best[..., None].expand(-1, -1, -1, 2)).squeeze(2)
    return values.gather(2, best).squeeze(2), cell


def move_to_keypoints(points: Tensor, heat: Tensor, offset: Tensor, stride: int) -> Tensor:
    """Replace places by the key points that the maps have there.

    Args:
        points (Tensor): (B, M, 2) x, y in pixels.
        heat (Tensor): (B, H, W) heat map.
        offset (Tensor): (B, 2, H, W) x, y offsets of the key points from their cells, in strides.
        stride (int): Pixels per cell.

    Returns:
        Tensor: (B, M, 2) x, y in pixels: the highest of the four cells around each place, moved by
        its offset.
    """
    _, cell = best_of_four(heat, points, stride)
    index = (cell[..., 1] * heat.size(2) + cell[..., 0])[:, None].expand(-1, 2, -1)
    return (cell + offset.flatten(2).gather(2, index).transpose(1, 2)) * stride
