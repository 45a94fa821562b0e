"""From the two stages of CPN to objects: fused scores, flip consistency, suppression."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from ..keypoints.corner_decode import CornerPairs
from ..keypoints.soft_nms import box_iou, suppress
from ..keypoints.views import View
from .proposals import Proposals

# Detections of one view that are compared with those of the other in one go: bounds the memory.
_ROWS_AT_ONCE = 512


def passing(grouping: Tensor, images: Tensor, num_images: int, threshold: float) -> Tensor:
    """Choose the proposals that the multi-class step looks at.

    Args:
        grouping (Tensor): (N,) probability that a proposal is an object, from the binary step.
        images (Tensor): (N,) image of each.
        num_images (int): Images in the batch.
        threshold (float): Least probability.

    Returns:
        Tensor: (N,) mask. In an image where none passes all do, as in the official code (which
        counts over the batch, so that an image's detections depend on the others).
    """
    passed = grouping >= threshold
    some = torch.zeros(num_images, device=images.device).index_add_(0, images, passed.float()) > 0
    return passed | ~some[images]


def fuse_scores(corner: Tensor, class_prob: Tensor) -> Tensor:
    """Fuse the scores of both stages: ``(s + .5)(q + .5) - .25``, from 0 to 2.

    Args:
        corner (Tensor): (N,) mean score of the corners.
        class_prob (Tensor): (N,) probability of the corners' class, from the multi-class step.

    Returns:
        Tensor: (N,).
    """
    return (corner + 0.5) * (class_prob + 0.5) - 0.25


def best_pairs(
    proposals: Proposals,
    scores: Tensor,
    tl_offset: Tensor,
    br_offset: Tensor,
    *,
    num_pairs: int = 1000,
) -> list[CornerPairs]:
    """Take the best proposals of each image, with their corners where the offsets say.

    Args:
        proposals (Proposals): Of the batch.
        scores (Tensor): (N,) fused scores.
        tl_offset (Tensor): (B, 2, H, W) x, y from the cell to the top-left corner.
        br_offset (Tensor): (B, 2, H, W) x, y from the cell to the bottom-right corner.
        num_pairs (int): Pairs per image.

    Returns:
        list[CornerPairs]: Per image, best first, in cells.
    """
    cells = proposals.boxes.long()
    x1, y1, x2, y2 = cells.unbind(1)
    offsets = (
        tl_offset[proposals.images, :, y1, x1],
        br_offset[proposals.images, :, y2, x2],
    )
    boxes = proposals.boxes + torch.cat(offsets, 1).to(proposals.boxes)
    found = []
    for image in range(len(tl_offset)):
        (own,) = (proposals.images == image).nonzero(as_tuple=True)
        best, index = scores[own].topk(min(num_pairs, len(own)))
        index = own[index]
        found.append(
            CornerPairs(boxes[index], best, proposals.corner_scores[index], proposals.labels[index])
        )
    return found


def to_pixels(
    found: Sequence[CornerPairs],
    batch_img_metas: Sequence[Mapping[str, Any]],
    map_shape: Sequence[int],
    *,
    rescale: bool,
) -> list[CornerPairs]:
    """Take the pairs of each image from cells to pixels.

    Args:
        found (Sequence[CornerPairs]): From :func:`best_pairs`.
        batch_img_metas (Sequence[dict]): See :meth:`mmext.detection.keypoints.views.View.of`.
        map_shape (Sequence[int]): Height and width of the maps.
        rescale (bool): Whether to go back to the original image.

    Returns:
        list[CornerPairs]: The same, with a score of -1 where a box reaches out of the image.
    """
    images = []
    for pairs, meta in zip(found, batch_img_metas, strict=True):
        view = View.of(meta, map_shape, pairs.boxes, rescale=rescale)
        boxes, outside = view.boxes(pairs.boxes)
        images.append(pairs._replace(boxes=boxes, scores=pairs.scores.masked_fill(outside, -1)))
    return images


def flip_support(
    pairs: CornerPairs, others: CornerPairs, *, min_iou: float = 0.3, plus_one: bool = True
) -> Tensor:
    """Tell how well the detections of one view are met by those of the mirrored view.

    Args:
        pairs (CornerPairs): Of one image, in its pixels.
        others (CornerPairs): Of the mirrored image, brought back to the same pixels.
        min_iou (float): Less overlap counts as none.
        plus_one (bool): Whether a box is ``x2 - x1 + 1`` wide.

    Returns:
        Tensor: (P,) largest IoU of each with a detection of its class among the others.
    """
    if not len(others.scores):
        return torch.zeros_like(pairs.scores)
    best = []
    for boxes, labels in zip(
        pairs.boxes.split(_ROWS_AT_ONCE), pairs.labels.split(_ROWS_AT_ONCE), strict=True
    ):
        iou = box_iou(boxes[:, None], others.boxes, plus_one=plus_one)
        best.append(iou.masked_fill(labels[:, None] != others.labels, 0).amax(1))
    iou = torch.cat(best)
    return torch.where(iou < min_iou, 0, iou)


def pool_views(views: Sequence[CornerPairs]) -> CornerPairs:
    """Put the detections of several views one after the other.

    Args:
        views (Sequence[CornerPairs]): Of one image, in its pixels.

    Returns:
        CornerPairs: Those with a score above zero, in the same order.
    """
    pooled = [torch.cat(parts) for parts in zip(*views, strict=True)]
    positive = pooled[1] > 0
    return CornerPairs(*(part[positive] for part in pooled))


def merge_views(
    views: Sequence[CornerPairs],
    flipped: Sequence[bool],
    *,
    flip_consistency: Mapping[str, Any] | None,
    plus_one: bool = True,
) -> CornerPairs:
    """Compare the plain views of an image with the mirrored ones, and pool all.

    Where there are both, each score is multiplied by 1 + the overlap with the best partner in the
    views of the other kind. So scores are up to 2, or up to 4.

    Args:
        views (Sequence[CornerPairs]): In pixels of the original image.
        flipped (Sequence[bool]): Which of them are mirrored.
        flip_consistency (dict | None): Arguments of :func:`flip_support`; None leaves it out.
        plus_one (bool): Whether a box is ``x2 - x1 + 1`` wide when overlaps are computed.

    Returns:
        CornerPairs: Those of all views with a score above zero.
    """
    kinds = [
        pool_views([view for view, flip in zip(views, flipped, strict=True) if flip == kind])
        for kind in (False, True)
        if kind in flipped
    ]
    if flip_consistency is not None and len(kinds) == 2:
        support = [
            flip_support(one, other, plus_one=plus_one, **flip_consistency)
            for one, other in (kinds, kinds[::-1])
        ]
        kinds = [
            kind._replace(scores=kind.scores * (1 + more))
            for kind, more in zip(kinds, support, strict=True)
        ]
    return pool_views(kinds)


def detect(
    views: Sequence[CornerPairs],
    flipped: Sequence[bool],
    *,
    flip_consistency: Mapping[str, Any] | None,
    nms: Mapping[str, Any],
    max_per_img: int,
    plus_one: bool = True,
) -> InstanceData:
    """Turn the detections of one image, from one or several views, into objects.

    Args:
        views (Sequence[CornerPairs]): See :func:`merge_views`.
        flipped (Sequence[bool]): See :func:`merge_views`.
        flip_consistency (dict | None): See :func:`merge_views`.
        nms (dict): Arguments of :func:`mmext.detection.keypoints.soft_nms.suppress`.
        max_per_img (int): Detections kept.
        plus_one (bool): Whether a box is ``x2 - x1 + 1`` wide when overlaps are computed.

    Returns:
        InstanceData: ``bboxes`` (K, 4), ``scores`` (K,) and ``labels`` (K,), best first.
    """
    pooled = merge_views(views, flipped, flip_consistency=flip_consistency, plus_one=plus_one)
    kept = suppress(
        pooled.boxes,
        pooled.scores,
        pooled.labels,
        pooled.corner_scores,
        max_num=max_per_img,
        plus_one=plus_one,
        **nms,
    )
    return InstanceData(bboxes=kept.boxes, scores=kept.scores, labels=kept.labels)
