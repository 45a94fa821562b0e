"""From the maps of CenterNet to objects: corner pairs with a centre in their middle."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ..keypoints.corner_decode import pair_corners
from ..keypoints.peaks import find_peaks
from ..keypoints.soft_nms import suppress
from ..keypoints.views import View


class TripletCandidates(NamedTuple):
    """Corner pairs and centres, best first, before they are brought together.

    Attributes:
        boxes (Tensor): (..., P, 4) x1, y1, x2, y2.
        scores (Tensor): (..., P) mean score of both corners, -1 for what is no pair.
        corner_scores (Tensor): (..., P, 2) scores of top-left and bottom-right corner.
        labels (Tensor): (..., P) classes of the pairs.
        centers (Tensor): (..., M, 2) x, y.
        center_scores (Tensor): (..., M) scores of the centres.
        center_labels (Tensor): (..., M) classes of the centres.
    """

    boxes: Tensor
    scores: Tensor
    corner_scores: Tensor
    labels: Tensor
    centers: Tensor
    center_scores: Tensor
    center_labels: Tensor


def decode_triplets(
    tl_heat: Tensor,
    br_heat: Tensor,
    ct_heat: Tensor,
    tl_tag: Tensor,
    br_tag: Tensor,
    tl_offset: Tensor,
    br_offset: Tensor,
    ct_offset: Tensor,
    *,
    num_peaks: int = 70,
    kernel: int = 3,
    max_tag_distance: float = 0.5,
    num_pairs: int = 1000,
) -> TripletCandidates:
    """Find corner pairs and centres in the maps of a batch (arXiv 1904.08189, section 3).

    Args:
        tl_heat (Tensor): (B, C, H, W) logits of top-left corners.
        br_heat (Tensor): (B, C, H, W) logits of bottom-right corners.
        ct_heat (Tensor): (B, C, H, W) logits of centres.
        tl_tag (Tensor): (B, 1, H, W) embeddings of top-left corners.
        br_tag (Tensor): (B, 1, H, W) embeddings of bottom-right corners.
        tl_offset (Tensor): (B, 2, H, W) x, y from the cell to the corner.
        br_offset (Tensor): (B, 2, H, W) x, y from the cell to the corner.
        ct_offset (Tensor): (B, 2, H, W) x, y from the cell to the centre.
        num_peaks (int): Corners of each kind, and centres, per image.
        kernel (int): Window in which a peak is the maximum.
        max_tag_distance (float): Largest distance of the embeddings of a pair.
        num_pairs (int): Pairs per image.

    Returns:
        TripletCandidates: For the batch, in cells.
    """
    peaks = dict(num_peaks=num_peaks, kernel=kernel)
    top_left = find_peaks(tl_heat.float().sigmoid(), **peaks)
    bottom_right = find_peaks(br_heat.float().sigmoid(), **peaks)
    center = find_peaks(ct_heat.float().sigmoid(), **peaks)
    tl_tags, br_tags = top_left.gather(tl_tag), bottom_right.gather(br_tag)
    pairs = pair_corners(
        top_left,
        bottom_right,
        top_left.points + top_left.gather(tl_offset),
        bottom_right.points + bottom_right.gather(br_offset),
        num_pairs=num_pairs,
        tag_distance=(tl_tags - br_tags.transpose(1, 2)).abs(),
        max_tag_distance=max_tag_distance,
    )
    centers = center.points + center.gather(ct_offset)
    return TripletCandidates(*pairs, centers, center.scores, center.labels)


def to_image(
    candidates: TripletCandidates,
    map_shape: Sequence[int],
    meta: Mapping[str, Any],
    *,
    rescale: bool,
) -> TripletCandidates:
    """Take the candidates of one image from cells to pixels.

    Pairs that reach more than 5 px over the edge lose their score.

    Args:
        candidates (TripletCandidates): Of one image, in cells.
        map_shape (Sequence[int]): Height and width of the maps.
        meta (dict): See :meth:`mmext.detection.keypoints.views.View.of`.
        rescale (bool): Whether to go back to the original image.

    Returns:
        TripletCandidates: In pixels.

    Raises:
        ValueError: The image was flipped in another way than horizontally.
    """
    view = View.of(meta, map_shape, candidates.boxes, rescale=rescale)
    boxes, outside = view.boxes(candidates.boxes)
    return candidates._replace(
        boxes=boxes,
        scores=candidates.scores.masked_fill(outside, -1),
        centers=view.points(candidates.centers),
    )


def check_centers(
    candidates: TripletCandidates,
    *,
    small_area: float = 22500.0,
    small_parts: int = 3,
    large_parts: int = 5,
) -> tuple[Tensor, Tensor]:
    """Ask each corner pair for a centre of its class in its central region.

    The region has the middle of the box and ``1 / parts`` of its sides (arXiv 1904.08189, eq. 1);
    a centre on its edge is not inside. Paper and official code agree on the numbers (the paper
    gives 150 px as the scale from which boxes are large).

    Args:
        candidates (TripletCandidates): Of one image, in pixels of the original image.
        small_area (float): Boxes of at most this many px^2 are small.
        small_parts (int): n of small boxes.
        large_parts (int): n of large boxes.

    Returns:
        tuple[Tensor, Tensor]: (P,) whether there is such a centre, and (P,) the mean of the scores
        of both corners and that centre, the first of them in the given order.
    """
    boxes = candidates.boxes[:, None]
    top_left, bottom_right = boxes[..., :2], boxes[..., 2:]
    small = (bottom_right - top_left).prod(-1, keepdim=True) <= small_area
    parts = torch.where(small, small_parts, large_parts).to(boxes)
    more, less = (parts + 1) / 2, (parts - 1) / 2
    inside = candidates.centers > (more * top_left + less * bottom_right) / parts
    inside &= candidates.centers < (less * top_left + more * bottom_right) / parts
    matches = inside.all(-1) & (candidates.labels[:, None] == candidates.center_labels)
    if not matches.size(1):
        return matches.any(1), candidates.scores
    first = matches.long().argmax(1)
    return matches.any(1), (2 * candidates.scores + candidates.center_scores[first]) / 3


def detect_triplets(
    views: Sequence[TripletCandidates],
    *,
    center_views: Sequence[bool] | None = None,
    center_check: Mapping[str, Any] | None,
    nms: Mapping[str, Any],
    max_per_img: int,
) -> InstanceData:
    """Turn the candidates of one image, from one or several views, into objects.

    Args:
        views (Sequence[TripletCandidates]): In pixels of the original image.
        center_views (Sequence[bool] | None): The views whose centres count, all if not given. The
            official multi-scale test has those of scale 1.
        center_check (dict | None): Arguments of :func:`check_centers`; None leaves the check out,
            and pairs keep the mean score of their corners.
        nms (dict): Arguments of :func:`mmext.detection.keypoints.soft_nms.suppress`.
        max_per_img (int): Detections kept.

    Returns:
        InstanceData: ``bboxes`` (K, 4), ``scores`` (K,) and ``labels`` (K,), best first.
    """
    chosen = [True] * len(views) if center_views is None else center_views
    centers = [view[4:] for view, use in zip(views, chosen, strict=True) if use]
    pooled = TripletCandidates(
        *(torch.cat(parts) for parts in zip(*(view[:4] for view in views), strict=True)),
        *(torch.cat(parts) for parts in zip(*centers, strict=True)),
    )
    keep, scores = pooled.scores > -1, pooled.scores
    if center_check is not None:
        found, scores = check_centers(pooled, **center_check)
        keep &= found
    order = scores[keep].argsort(descending=True, stable=True)
    boxes, scores, labels, corner_scores = (
        part[keep][order] for part in (pooled.boxes, scores, pooled.labels, pooled.corner_scores)
    )
    kept = suppress(boxes, scores, labels, corner_scores, max_num=max_per_img, **nms)
    return InstanceData(bboxes=kept.boxes, scores=kept.scores, labels=kept.labels)
