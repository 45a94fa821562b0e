"""Peaks of heat maps."""

from functools import reduce
from typing import NamedTuple

import torch
from mmdet.models.utils import transpose_and_gather_feat
from torch import Tensor
from torch.nn import functional as F


class Peaks(NamedTuple):
    """The K best peaks of each image, best first.

    Attributes:
        scores (Tensor): (B, K) heat.
        labels (Tensor): (B, K) class, the channel of the heat map.
        cells (Tensor): (B, K) index of the cell in the flattened map.
        points (Tensor): (B, K, 2) x, y of the cell.
    """

    scores: Tensor
    labels: Tensor
    cells: Tensor
    points: Tensor

    def gather(self, maps: Tensor) -> Tensor:
        """Read other maps at the peaks.

        Args:
            maps (Tensor): (B, D, H, W).

        Returns:
            Tensor: (B, K, D).
        """
        return transpose_and_gather_feat(maps, self.cells)


def find_peaks(heat: Tensor, *, num_peaks: int, kernel: int = 3) -> Peaks:
    """Find the best local maxima over all classes of each image.

    The official code of the hourglass detectors takes the best of each class first, which comes to
    the same but for the order of equal scores.

    Args:
        heat (Tensor): (B, C, H, W) probabilities.
        num_peaks (int): K; all cells if the map has fewer.
        kernel (int): A peak is the maximum of a window of this many cells, odd. Cells that are no
            peak take part with a score of zero.

    Returns:
        Peaks: K peaks per image.
    """
    height, width = heat.shape[-2:]
    rows = torch.where(_highest(heat, kernel) == heat, heat, 0).flatten(1, 2)
    count = min(num_peaks, rows[0].numel())
    # The best K cells are in the K rows with the best maxima: a fraction of all to be sorted.
    best = rows.amax(-1).topk(min(count, rows.size(1))).indices
    candidates = rows.gather(1, best[..., None].expand(-1, -1, width)).flatten(1)
    scores, index = candidates.topk(count)
    row, x = best.gather(1, index // width), index % width
    y = row % height
    return Peaks(scores, row // height, y * width + x, torch.stack((x, y), -1).float())


def _highest(heat: Tensor, kernel: int) -> Tensor:
    """Return the maximum of a window around each cell, (B, C, H, W).

    One direction after the other: ``max_pool2d`` takes several times as long on a CPU.
    """
    height, width = heat.shape[-2:]
    side = kernel // 2
    padded = F.pad(heat, (side, side, side, side), value=-torch.inf)
    across = reduce(torch.maximum, [padded[..., i : i + width] for i in range(kernel)])
    return reduce(torch.maximum, [across[..., i : i + height, :] for i in range(kernel)])
