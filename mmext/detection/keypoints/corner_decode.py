"""Pairs of corners."""

from typing import NamedTuple

import torch
from torch import Tensor

from .peaks import Peaks


class CornerPairs(NamedTuple):
    """Boxes spanned by a top-left and a bottom-right corner, per image, best first.

    Attributes:
        boxes (Tensor): (B, P, 4) x1, y1, x2, y2 in the unit of the corners.
        scores (Tensor): (B, P) mean of both corners' scores, -1 for what is no pair.
        corner_scores (Tensor): (B, P, 2) scores of the top-left and of the bottom-right corner.
        labels (Tensor): (B, P) class of the top-left corner.
    """

    boxes: Tensor
    scores: Tensor
    corner_scores: Tensor
    labels: Tensor


def match_corners(
    top_left: Peaks, bottom_right: Peaks, tl_points: Tensor, br_points: Tensor
) -> tuple[Tensor, Tensor]:
    """Tell which top-left and bottom-right corners can be those of one box.

    They have one class, and the box no negative width or height (CornerNet's rule; one of zero is
    allowed). Cells that only fill up the list of peaks, with a score of zero, are no corners: a
    pair of them has no mean of its corners, which soft-NMS weighs by these scores.

    Args:
        top_left (Peaks): K top-left corners per image.
        bottom_right (Peaks): L bottom-right corners per image.
        tl_points (Tensor): (B, K, 2) x, y of the top-left corners.
        br_points (Tensor): (B, L, 2) x, y of the bottom-right corners.

    Returns:
        tuple[Tensor, Tensor]: (B, K, L) whether they can, and the mean of their scores.
    """
    valid = top_left.labels[:, :, None] == bottom_right.labels[:, None]
    valid &= (br_points[:, None] >= tl_points[:, :, None]).all(-1)
    valid &= (top_left.scores > 0)[:, :, None] & (bottom_right.scores > 0)[:, None]
    return valid, (top_left.scores[:, :, None] + bottom_right.scores[:, None]) / 2


def pair_corners(
    top_left: Peaks,
    bottom_right: Peaks,
    tl_points: Tensor,
    br_points: Tensor,
    *,
    num_pairs: int,
    tag_distance: Tensor | None = None,
    max_tag_distance: float = 0.5,
) -> CornerPairs:
    """Pair all top-left with all bottom-right corners and keep the best pairs.

    A pair is what :func:`match_corners` says and, where corners have embeddings, has embeddings
    that are close.

    Args:
        top_left (Peaks): K top-left corners per image.
        bottom_right (Peaks): L bottom-right corners per image.
        tl_points (Tensor): (B, K, 2) x, y of the top-left corners, offsets included.
        br_points (Tensor): (B, L, 2) x, y of the bottom-right corners.
        num_pairs (int): P; all of K times L if there are fewer.
        tag_distance (Tensor | None): (B, K, L) distance of the embeddings.
        max_tag_distance (float): Largest distance within a pair.

    Returns:
        CornerPairs: P pairs per image. What is no pair stands last, with a score of -1.
    """
    valid, scores = match_corners(top_left, bottom_right, tl_points, br_points)
    if tag_distance is not None:
        valid &= tag_distance <= max_tag_distance
    scores = scores.masked_fill(~valid, -1).flatten(1)

    best, index = scores.topk(min(num_pairs, scores.size(1)))
    tl = index.div(bottom_right.scores.size(1), rounding_mode="floor")
    br = index % bottom_right.scores.size(1)
    corners = [
        points.gather(1, i[..., None].expand(-1, -1, 2))
        for points, i in ((tl_points, tl), (br_points, br))
    ]
    corner_scores = torch.stack(
        (top_left.scores.gather(1, tl), bottom_right.scores.gather(1, br)), -1
    )
    return CornerPairs(torch.cat(corners, -1), best, corner_scores, top_left.labels.gather(1, tl))
