"""Peaks of heat maps."""

from typing import NamedTuple

from mmdet.models.utils import get_local_maximum, get_topk_from_heatmap, transpose_and_gather_feat
from torch import Tensor, stack


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
    peaks = get_local_maximum(heat, kernel).contiguous()  # mmdet asks for a view of them
    scores, cells, labels, ys, xs = get_topk_from_heatmap(peaks, k=min(num_peaks, peaks[0].numel()))
    return Peaks(scores, labels, cells, stack((xs, ys.to(xs)), -1))
