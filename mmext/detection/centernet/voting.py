"""Merging the detections of several views of an image by vote."""

import torch
from mmdet.structures.bbox import bbox_overlaps
from torch import Tensor


def vote_boxes(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    iou_threshold: float = 0.66,
    score_thr: float = 0.05,
) -> tuple[Tensor, Tensor, Tensor]:
    """Replace boxes of a class that overlap by their mean.

    The best box of a class leads a group of all boxes whose IoU with it reaches the threshold; the
    best of the rest leads the next one, and so on. A group becomes the mean of its boxes, weighted
    by their scores, with the highest of the scores. Its boxes remain beside it with their scores
    times ``1 - IoU`` (with the leader), where those reach ``score_thr``. A box alone in its group
    stays as it is.

    Source: the official code of CenterNet++ (``method='vote'``, from ATSS). That drops a box that
    is the only one of its class in the image; here it stays.

    Args:
        boxes (Tensor): (N, 4) x1, y1, x2, y2 in pixels.
        scores (Tensor): (N,) scores.
        labels (Tensor): (N,) classes.
        iou_threshold (float): IoU from which boxes belong together.
        score_thr (float): Lowest score of a box that remains beside the mean.

    Returns:
        tuple[Tensor, Tensor, Tensor]: (K, 4) boxes, (K,) scores, the highest first, (K,) classes.
    """
    if len(boxes) == 0:
        return boxes, scores, labels
    scores, order = scores.sort(descending=True, stable=True)
    boxes, labels = boxes[order], labels[order]
    index = torch.arange(len(boxes), device=boxes.device)
    iou = bbox_overlaps(boxes, boxes)
    near = (iou >= iou_threshold) & (labels[:, None] == labels)
    leads = _leaders(near)

    # The best leader near to each box. No leader is near to another one, and each leads itself,
    # also if it has no area and hence no IoU with itself.
    claims = (near & leads[:, None]) | torch.diag(leads)
    leader = torch.where(claims, index[:, None], len(boxes)).amin(0)
    shared = torch.bincount(leader, minlength=len(boxes)) > 1

    total = torch.zeros_like(scores).index_add_(0, leader, scores)
    mean = torch.zeros_like(boxes).index_add_(0, leader, boxes * scores[:, None])
    mean = mean / total.clamp(min=torch.finfo(total.dtype).tiny)[:, None]
    merged = torch.where(shared[:, None], mean, boxes)[leads]

    lowered = scores * (1 - iou[leader, index])
    remain = shared[leader] & ~leads & (lowered >= score_thr)
    scores, order = torch.cat((scores[leads], lowered[remain])).sort(descending=True, stable=True)
    boxes = torch.cat((merged, boxes[remain]))[order]
    return boxes, scores, torch.cat((labels[leads], labels[remain]))[order]


def _leaders(near: Tensor) -> Tensor:
    """Tell which boxes no better leader is near to.

    The greedy pass of non-maximum suppression, for all boxes at once: each turn lets the boxes lead
    that no leader of the turn before suppresses. The first k boxes are right after k turns, and all
    after as many as the longest chain of boxes that free each other, which is a handful.

    Args:
        near (Tensor): (N, N) whether boxes belong together, the best box first.

    Returns:
        Tensor: (N,) bool.
    """
    better = near.triu(1)  # [i, j]: i is better than j
    leads = torch.ones(len(near), dtype=torch.bool, device=near.device)
    while True:
        turn = ~(better & leads[:, None]).any(0)
        if torch.equal(turn, leads):
            return leads
        leads = turn
