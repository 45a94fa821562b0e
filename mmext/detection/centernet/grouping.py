"""Grouping of quarter boxes into objects."""

import torch
from torch import Tensor


def group_quarters(
    tl_boxes: Tensor,
    tl_scores: Tensor,
    tl_labels: Tensor,
    br_boxes: Tensor,
    br_scores: Tensor,
    br_labels: Tensor,
    *,
    distance_threshold: float = 0.5,
    small_ratio: float = 1 / 5,
    large_ratio: float = 1 / 4,
    large_area: float = 3500.0,
    center_check: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pair top-left with bottom-right quarter boxes whose predicted centres agree.

    A pair spans a box from the corner of the one to the corner of the other. It is an object when
    the classes are the same, the box has an extent, both predicted centres lie strictly inside the
    central region of that box, and the rectangle between the two centres covers at most
    ``distance_threshold`` of the region. Its score is the mean of the two scores.

    The numbers of the central region are the official code's by default, since that is what the
    published models were tested with: a fifth of the side up to 3500 px^2, a fourth above. The
    paper (arXiv 2204.08394) has a third for boxes of a side below 150 px and a fifth above:
    ``small_ratio=1/3, large_ratio=1/5, large_area=150**2``. For scores see
    :meth:`QuarterBoxHead.detect`.

    Args:
        tl_boxes (Tensor): (N, 4) top-left quarter boxes x1, y1, cx, cy in pixels.
        tl_scores (Tensor): (N,) scores.
        tl_labels (Tensor): (N,) classes.
        br_boxes (Tensor): (M, 4) bottom-right quarter boxes cx, cy, x2, y2 in pixels.
        br_scores (Tensor): (M,) scores.
        br_labels (Tensor): (M,) classes.
        distance_threshold (float): Largest share of the central region between the two centres.
        small_ratio (float): Side of the central region relative to the side of a small box.
        large_ratio (float): The same for a large box.
        large_area (float): Boxes of more pixels (in px^2) are large.
        center_check (bool): False leaves the tests of the centres out, to see what they are worth:
            every pair of a class that spans a box is an object then.

    Returns:
        tuple[Tensor, Tensor, Tensor]: (K, 4) boxes x1, y1, x2, y2, (K,) scores, (K,) classes.
    """
    tl, br = (tl_labels[:, None] == br_labels).nonzero().unbind(1)
    top_left, tl_centre = tl_boxes[tl].split(2, 1)
    br_centre, bottom_right = br_boxes[br].split(2, 1)
    wh = bottom_right - top_left
    match = (wh > 0).all(1)
    if center_check:
        ratio = torch.where(wh.prod(1) > large_area, large_ratio, small_ratio)
        region = ratio[:, None] * wh
        middle = (top_left + bottom_right) / 2
        match &= ((tl_centre - middle).abs() < region / 2).all(1)
        match &= ((br_centre - middle).abs() < region / 2).all(1)
        between = (tl_centre - br_centre).abs().prod(1)
        match &= between <= distance_threshold * region.prod(1)

    boxes = torch.cat((top_left, bottom_right), 1)[match]
    return boxes, ((tl_scores[tl] + br_scores[br]) / 2)[match], tl_labels[tl][match]
