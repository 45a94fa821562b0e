"""Non-maximum suppression of quadrilaterals over all images and classes in one go."""

import numpy as np

from .average_precision import ranking
from .quads import (
    horizontal_boxes,
    horizontal_pair_iou,
    iou_bounds,
    overlapping_pairs,
    pair_iou,
)


def suppress(
    corners: np.ndarray,
    score: np.ndarray,
    group: np.ndarray,
    iou_threshold: float,
    *,
    horizontal: bool = False,
) -> np.ndarray:
    """Keep the boxes that no kept box of a higher score in their group overlaps.

    Args:
        corners: (N, 4, 2) corners in pixels.
        score: (N,) scores; of equal ones the smaller group and corner coordinates go first.
        group: (N,) non-negative integers; only boxes of the same group suppress each other.
        iou_threshold: IoU above which (not at which) a box goes.
        horizontal: Compare the horizontal boxes around in place of the quadrilaterals.

    Returns:
        (N,) bool.
    """
    boxes = horizontal_boxes(corners) + ([-0.5, -0.5, 0.5, 0.5] if horizontal else 0)
    first, second = overlapping_pairs(boxes, group, boxes, group)
    first, second = first[first < second], second[first < second]
    if not horizontal:
        possible = iou_bounds(corners, corners, (first, second)) > iou_threshold
        first, second = first[possible], second[possible]
    iou = (horizontal_pair_iou if horizontal else pair_iou)(corners[first], corners[second])
    close = iou > iou_threshold
    order = ranking(score, group, corners)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    ends = rank[first[close]], rank[second[close]]
    return _greedy(len(corners), np.minimum(*ends), np.maximum(*ends))[rank]


def _greedy(size: int, better: np.ndarray, worse: np.ndarray) -> np.ndarray:
    """Decide by rounds: who has no undecided better neighbour stays, and its neighbours go.

    Args:
        size: Number of boxes, numbered by rank.
        better: (P,) the higher one of each pair that is too close.
        worse: (P,) the lower one.

    Returns:
        (size,) bool: what one pass down the ranking would keep.
    """
    kept = np.ones(size, bool)
    while len(better):
        blocked = np.zeros(size, bool)
        blocked[worse] = True
        winners = ~blocked[better]
        gone = np.zeros(size, bool)
        gone[worse[winners]] = True
        kept &= ~gone
        open_pairs = ~gone[better] & ~gone[worse]
        better, worse = better[open_pairs], worse[open_pairs]
    return kept
