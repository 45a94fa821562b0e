"""Where the windows of a split lie, and which objects are in them."""

from collections.abc import Sequence

import numpy as np

from .evaluation.quads import (
    horizontal_boxes,
    intersection_areas,
    overlapping_pairs,
    signed_areas,
    to_corners,
)

TRUNCATED = 2
"""Difficulty of an object that the border of its window cuts."""


def window_boxes(
    width: int,
    height: int,
    sizes: Sequence[int],
    gaps: Sequence[int],
    *,
    min_filled: float = 0.6,
) -> np.ndarray:
    """Return the windows that cover an image, the last of a row or column moved back to its edge.

    Args:
        width: Width of the image in pixels.
        height: Its height.
        sizes: Sides of the square windows.
        gaps: Overlap of neighbouring windows, one per size and smaller than it.
        min_filled: Windows of which the image fills no larger share are left out (over all sizes
            together, so that a small image gets no patches that are mostly padding). If that leaves
            none, the best filled ones stay.

    Returns:
        (W, 4) integers x1, y1, x2, y2; they may reach over the right and lower edge.

    Raises:
        ValueError: A gap is not smaller than its size.
    """
    windows = []
    for size, gap in zip(sizes, gaps, strict=True):
        if not 0 <= gap < size:
            raise ValueError(f"gap {gap} of window {size}: expected 0 <= gap < window")
        x, y = (_starts(extent, size, size - gap) for extent in (width, height))
        corner = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        windows.append(np.hstack([corner, corner + size]))
    boxes = np.concatenate(windows)
    inside = np.minimum(boxes[:, 2:], [width, height]) - boxes[:, :2]
    filled = inside.prod(axis=1) / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    kept = filled > min_filled
    return boxes[kept if kept.any() else filled > filled.max() - 0.01]


def objects_in_windows(
    corners: np.ndarray, windows: np.ndarray, *, min_inside: float = 0.7
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find which objects belong to which windows.

    Args:
        corners: (N, 4, 2) corners in pixels of the image.
        windows: (W, 4) boxes x1, y1, x2, y2.
        min_inside: Least share of an object's area inside a window. An object without area is in
            no window.

    Returns:
        (P,) indices of windows, ascending, (P,) indices of objects, (P,) bool: cut by the border.
    """
    window, item = overlapping_pairs(
        windows.astype(np.float64),
        np.zeros(len(windows), np.int64),
        horizontal_boxes(corners),
        np.zeros(len(corners), np.int64),
    )
    boxes, inner = windows[window], horizontal_boxes(corners)[item]
    cut = ~((inner[:, :2] >= boxes[:, :2]) & (inner[:, 2:] <= boxes[:, 2:])).all(axis=1)
    area = np.abs(signed_areas(corners))[item]
    share = (area > 0).astype(np.float64)
    partly = cut & (area > 0)
    shared = intersection_areas(corners[item[partly]], to_corners(boxes[partly]))
    share[partly] = shared / area[partly]
    kept = (share >= min_inside - 1e-9) & (area > 0)  # 70 of 100 px^2 are 0.7, after rounding too
    return window[kept], item[kept], cut[kept]


def _starts(extent: int, size: int, step: int) -> np.ndarray:
    """Return where the windows begin along one axis."""
    if extent <= size:
        return np.zeros(1, dtype=np.int64)
    starts = np.arange(-((size - extent) // step) + 1, dtype=np.int64) * step
    return np.minimum(starts, extent - size)
