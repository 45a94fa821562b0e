"""How a prediction head writes headings and sizes, and back."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..structures import wrap_angle


def angle_to_bin(angle: Tensor, num_bins: int) -> tuple[Tensor, Tensor]:
    """Split angles into bins of equal width, the first around 0.

    Args:
        angle: (...,) in radians, any turn.
        num_bins: Number of bins.

    Returns:
        Bins (...,), and what is left (...,) in radians, at most half a bin.

    Source: VoteNet (arXiv 1904.09664), appendix, after Frustum PointNets.
    """
    width = 2 * math.pi / num_bins
    shifted = (angle + width / 2) % (2 * math.pi)
    # Rounding may make the remainder a whole turn, which is bin 0 again.
    number = (shifted / width).floor().long() % num_bins
    # As a product of integers with a number it would be in single precision.
    return number, shifted - number.to(shifted) * width - width / 2


def bin_to_angle(number: Tensor, residual: Tensor, num_bins: int) -> Tensor:
    """Undo :func:`angle_to_bin`.

    Args:
        number: (...,) bins.
        residual: (...,) in radians.
        num_bins: Number of bins.

    Returns:
        (...,) in radians, above -pi and up to pi.
    """
    return wrap_angle(number.to(residual) * (2 * math.pi / num_bins) + residual)


class BoxCoder(nn.Module):
    """Headings in bins, sizes relative to the mean of a class, or as they are.

    Headings turn as in VoteNet, clockwise seen from above; yaw of our boxes is minus that.

    Args:
        num_heading_bins: Bins of the heading; 1: boxes are not turned.
        mean_sizes: (K, 3) mean l, w, h of each class in metres. None: sizes are predicted without
            a class, in metres.
    """

    def __init__(
        self, num_heading_bins: int, mean_sizes: Sequence[Sequence[float]] | None = None
    ) -> None:
        super().__init__()
        self.num_heading_bins = num_heading_bins
        # The official network computes with means in single precision, but labels and decoded
        # sizes have the full ones.
        self._exact = None if mean_sizes is None else torch.tensor(mean_sizes, dtype=torch.float64)
        rounded = None if mean_sizes is None else self._exact.float()
        self.register_buffer("mean_sizes", rounded, persistent=False)

    @property
    def num_sizes(self) -> int:
        """Number of classes of sizes, 0 without them."""
        return 0 if self.mean_sizes is None else len(self.mean_sizes)

    def encode_size(self, size: Tensor, label: Tensor) -> Tensor:
        """Return how far sizes are from the means of their classes.

        Args:
            size: (..., 3) in metres.
            label: (...,) classes.

        Returns:
            (..., 3) in units of the means.
        """
        return (size - self._exact.to(size)[label]) / self.mean_sizes.to(size)[label]

    def size(self, scores: Tensor, residuals: Tensor) -> Tensor:
        """Return the sizes that a network goes on with.

        Args:
            scores: (..., K) of the classes.
            residuals: (..., K, 3) in units of the means.

        Returns:
            (..., 3) in metres, may be negative.
        """
        sizes = self.mean_sizes.to(residuals) * (1 + residuals)
        return _take(sizes, scores)

    def decode_size(self, scores: Tensor, residuals: Tensor) -> Tensor:
        """Return the sizes of detections, see :meth:`size`."""
        sizes = self._exact.to(residuals) + self.mean_sizes.to(residuals) * residuals
        return _take(sizes, scores)

    def decode_yaw(self, scores: Tensor, residuals: Tensor) -> Tensor:
        """Return the yaw of detections.

        Args:
            scores: (..., H) of the bins of the heading.
            residuals: (..., H) in units of half a bin.

        Returns:
            (...,) in radians, counter-clockwise, above -pi and up to pi.
        """
        if self.num_heading_bins == 1:
            return torch.zeros_like(scores[..., 0])
        number = scores.argmax(-1)
        residual = residuals.gather(-1, number[..., None])[..., 0] * self.half_bin
        return wrap_angle(-bin_to_angle(number, residual, self.num_heading_bins))

    @property
    def half_bin(self) -> float:
        """Half the width of a bin of the heading, in radians."""
        return math.pi / self.num_heading_bins


def _take(sizes: Tensor, scores: Tensor) -> Tensor:
    """Return the (..., 3) of the best class out of (..., K, 3)."""
    best = scores.argmax(-1)[..., None, None].expand(*scores.shape[:-1], 1, 3)
    return sizes.gather(-2, best)[..., 0, :]
