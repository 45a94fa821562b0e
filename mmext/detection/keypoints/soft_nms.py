"""Soft-NMS in the old pixel convention, with the merging of corners that key point detectors use.

mmcv's ``soft_nms`` has no merging. Both forms here are sequential in what they keep, as the method
is, and vectorised in what each kept box does to the others.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

Method = Literal["gaussian", "linear"]
# The score of a box that was kept or dropped.
_GONE = -torch.inf
# Boxes for which overlaps are computed in one go.
_ROWS_AT_ONCE = 16


class SoftNMSResult(NamedTuple):
    """The boxes that soft-NMS keeps, best first.

    Attributes:
        boxes (Tensor): (K, 4) x1, y1, x2, y2.
        scores (Tensor): (K,) decayed scores.
        labels (Tensor): (K,) classes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def box_iou(box: Tensor, boxes: Tensor, *, plus_one: bool = True) -> Tensor:
    """IoU of boxes with others, in the old pixel convention or today's.

    Args:
        box (Tensor): (..., 4) x1, y1, x2, y2, of a shape that broadcasts with the others'.
        boxes (Tensor): (..., 4) the others.
        plus_one (bool): Whether a box is ``x2 - x1 + 1`` wide, or ``x2 - x1``.

    Returns:
        Tensor: (...,) IoU, 0 where both boxes are empty.
    """
    # Not prod(-1), which takes several times as long on a dimension of two.
    more = int(plus_one)
    (x1, y1, x2, y2), (left, top, right, bottom) = box.unbind(-1), boxes.unbind(-1)
    width = (torch.min(x2, right) - torch.max(x1, left) + more).clamp(min=0)
    height = (torch.min(y2, bottom) - torch.max(y1, top) + more).clamp(min=0)
    overlap = width * height
    areas = (x2 - x1 + more) * (y2 - y1 + more), (right - left + more) * (bottom - top + more)
    union = areas[0] + areas[1] - overlap
    return torch.where(overlap > 0, overlap / union, 0)


def decay_of(iou: Tensor, method: Method, sigma: float, iou_threshold: float) -> Tensor:
    """Factor on the scores of boxes that overlap a kept one.

    Args:
        iou (Tensor): (N,) overlap with the kept box.
        method (str): ``gaussian``, ``exp(-iou^2 / sigma)``, or ``linear``, ``1 - iou`` above the
            threshold.
        sigma (float): For ``gaussian``.
        iou_threshold (float): For ``linear``.

    Returns:
        Tensor: (N,) factors in [0, 1].
    """
    if method == "gaussian":
        return torch.exp(-iou.square() / sigma)
    if method != "linear":
        raise ValueError(f"soft-NMS method must be 'gaussian' or 'linear', got {method!r}.")
    return torch.where(iou > iou_threshold, 1 - iou, 1.0)


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    max_num: int = 100,
    method: Method = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.5,
    min_score: float = 1e-3,
    corner_scores: Tensor | None = None,
    merge_exponent: float | None = None,
    plus_one: bool = True,
) -> SoftNMSResult:
    """Lower the scores of boxes that overlap better ones of their class, and keep the best.

    Soft-NMS (arXiv 1704.04503) as the official code of CornerNet and its descendants has it:
    overlaps in the ``+1`` convention by default, and a box leaves when a decay takes its score
    below ``min_score``. A box whose score was that low from the start stays until then.

    With ``merge_exponent`` each corner of a kept box becomes a mean over the boxes that overlap it,
    itself with weight 1 and others with ``(1 - decay) ** merge_exponent``, each times the score of
    that corner. Overlaps are those of the boxes before merging.

    :func:`legacy_soft_nms` also has the faults of the official code.

    Args:
        boxes (Tensor): (N, 4) x1, y1, x2, y2 in pixels.
        scores (Tensor): (N,).
        labels (Tensor): (N,) classes; boxes of different ones do not meet.
        max_num (int): Boxes kept. Scores only fall, so the best ``max_num`` are the first.
        method (str): See :func:`decay_of`.
        sigma (float): See :func:`decay_of`.
        iou_threshold (float): See :func:`decay_of`.
        min_score (float): What a decay takes below this is dropped.
        corner_scores (Tensor | None): (N, 2) scores of the two corners, for merging.
        merge_exponent (float | None): Turns merging on; the official multi-scale test has 10.
        plus_one (bool): Whether a box is ``x2 - x1 + 1`` wide when overlaps are computed.

    Returns:
        SoftNMSResult: At most ``max_num`` boxes.
    """
    if merge_exponent is not None and corner_scores is None:
        raise ValueError("soft_nms needs corner_scores where merge_exponent is set.")
    influence = _Influence(
        boxes,
        labels,
        min_score,
        method=method,
        sigma=sigma,
        iou_threshold=iou_threshold,
        plus_one=plus_one,
    )
    kept, kept_scores, left = _keep(scores, influence, max_num)
    index = torch.tensor(kept, dtype=torch.long, device=boxes.device)
    found = boxes[index]
    if merge_exponent is not None and kept:
        decay, floor = (torch.stack(part) for part in zip(*map(influence.of, kept), strict=True))
        met = (floor > _GONE) & torch.stack(left)
        weight = torch.where(met, (1 - decay) ** merge_exponent, 0.0)
        weight.scatter_(1, index[:, None], 1.0)
        found = _mean_corners(boxes, corner_scores, weight)
    return SoftNMSResult(found, scores.new_tensor(kept_scores), labels[index])


class _Influence:
    """What each box does to all when it is kept, computed for some boxes at a time.

    Args:
        boxes (Tensor): (N, 4) x1, y1, x2, y2 in pixels.
        labels (Tensor): (N,) classes.
        min_score (float): What a decay takes below this is dropped.
        plus_one (bool): See :func:`soft_nms`.
        **decay (Any): Further arguments of :func:`decay_of`.
    """

    def __init__(
        self, boxes: Tensor, labels: Tensor, min_score: float, *, plus_one: bool, **decay: Any
    ) -> None:
        self.boxes, self.labels, self.min_score = boxes, labels, min_score
        self.plus_one, self.decay = plus_one, decay
        self.rows: dict[int, tuple[Tensor, Tensor]] = {}
        self.unknown = torch.ones_like(labels, dtype=torch.bool)

    def of(self, box: int) -> tuple[Tensor, Tensor]:
        """Return the factors (N,) on all scores, and what these must reach (N,) to stay."""
        return self.rows[box]

    def prepare(self, box: int, scores: Tensor) -> None:
        """Make sure that a box is known; those with the best scores will be asked for next."""
        if box in self.rows:
            return
        likely = torch.where(self.unknown, scores, _GONE)
        likely = likely.topk(min(_ROWS_AT_ONCE, len(likely))).indices
        likely[0] = box
        self.unknown[likely] = False
        iou = box_iou(self.boxes[likely, None], self.boxes, plus_one=self.plus_one)
        met = (iou > 0) & (self.labels[likely, None] == self.labels)
        decay = torch.where(met, decay_of(iou, **self.decay), 1.0)
        floor = torch.where(met, self.min_score, _GONE)
        self.rows.update(zip(likely.tolist(), zip(decay, floor, strict=True), strict=True))


def _keep(
    scores: Tensor, influence: _Influence, max_num: int
) -> tuple[list[int], list[float], list[Tensor]]:
    """Keep the best box until there are enough, each time with what it does to the others.

    Args:
        scores (Tensor): (N,).
        influence (_Influence): Of the boxes; knows those that were kept afterwards.
        max_num (int): Boxes kept.

    Returns:
        tuple[list[int], list[float], list[Tensor]]: The boxes kept, their scores, and for each the
        others (N,) that were there still.
    """
    current = scores.clone()
    kept: list[int] = []
    kept_scores: list[float] = []
    left: list[Tensor] = []
    for _ in range(min(max_num, len(scores))):
        best = int(current.argmax())
        score = current[best].item()
        if score == _GONE:
            break
        influence.prepare(best, current)
        current[best] = _GONE
        kept.append(best)
        kept_scores.append(score)
        left.append(current > _GONE)
        decay, floor = influence.of(best)
        # What is gone stays gone: the product with any factor, or NaN with zero, is no score.
        decayed = current * decay
        current = torch.where(decayed >= floor, decayed, _GONE)
    return kept, kept_scores, left


def _mean_corners(boxes: Tensor, corner_scores: Tensor, weight: Tensor) -> Tensor:
    """Return boxes (K, 4) of mean corners: weights (K, N) times the scores (N, 2) of corners."""
    corners = corner_scores[..., None] * boxes.view(-1, 2, 2)
    total = weight @ corners.flatten(1)
    return (total.view(-1, 2, 2) / (weight @ corner_scores)[..., None]).flatten(1)


def legacy_soft_nms(
    dets: np.ndarray,
    *,
    method: Method = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.5,
    min_score: float = 1e-3,
    merge_exponent: float | None = None,
) -> tuple[np.ndarray, int]:
    """Soft-NMS of one class with the faults of the official code, to compare with its numbers.

    It works in place on an array whose rows change places. Two things follow. The last row takes
    the place of a dropped one, and the caller reads the whole array, so what stood at its end when
    it was dropped or moved (a *stale* row: a duplicate, or a box below ``min_score``) is among the
    detections. And only boxes and scores move: the scores of the corners stay where they were, so
    merging weighs boxes with the corner scores of others, and depends on the order of the input.

    Args:
        dets (np.ndarray): (N, 5) x1, y1, x2, y2, score, or (N, 7) with the scores of the top-left
            and the bottom-right corner, which merging needs.
        method (str): See :func:`soft_nms`.
        sigma (float): See :func:`soft_nms`.
        iou_threshold (float): See :func:`soft_nms`.
        min_score (float): See :func:`soft_nms`.
        merge_exponent (float | None): See :func:`soft_nms`.

    Returns:
        tuple[np.ndarray, int]: The array as the official code leaves it, and the number of rows
        that soft-NMS kept; those behind are stale.
    """
    rows = torch.from_numpy(np.array(dets, dtype=np.float32))
    settings = (method, sigma, iou_threshold, min_score, merge_exponent)
    first, alive = 0, len(rows)
    while first < alive:
        best = first + int(rows[first:alive, 4].argmax())
        rows[[first, best], :5] = rows[[best, first], :5]
        kept, rest = rows[first], rows[first + 1 : alive]
        first += 1
        alive = first + _legacy_step(kept, rest, *settings)
    return rows.numpy(), alive


def _legacy_step(
    kept: Tensor,
    rest: Tensor,
    method: Method,
    sigma: float,
    iou_threshold: float,
    min_score: float,
    merge_exponent: float | None,
) -> int:
    """Let a kept row act on those behind it, in place; return how many of them are left.

    The official loop goes through the rows from the front; when it drops one, the last row takes
    that place and is looked at there, until one stays. So the places of dropped rows (holes) are
    filled with the staying rows of the end, last first, and a row is looked at either in its own
    place or in a hole.
    """
    iou = box_iou(kept[:4], rest[:, :4])
    decay = decay_of(iou, method, sigma, iou_threshold)
    met = iou > 0
    scores = torch.where(met, rest[:, 4] * decay, rest[:, 4])
    stays = ~(met & (scores < min_score))
    left = int(stays.sum())
    holes = (~stays[:left]).nonzero().flatten()
    fillers = left + stays[left:].nonzero().flatten().flip(0)
    end = int(fillers[-1]) if len(fillers) else len(rest)  # rows from here on were moved to holes

    if merge_exponent is not None:
        place = torch.arange(len(rest))
        place[left:end] = left
        if len(holes):
            moved = torch.arange(len(rest) - 1, end - 1, -1)
            place[moved] = holes[stays[moved].cumsum(0) - stays[moved].long()]
        weight = torch.where(met, (1 - decay) ** merge_exponent, 0.0)[:, None] * rest[place, 5:7]
        total = kept[5:7] + weight.sum(0)
        corners = kept[:4].view(2, 2) * kept[5:7, None]
        corners = corners + (weight[..., None] * rest[:, :4].view(-1, 2, 2)).sum(0)
        kept[:4] = (corners / total[:, None]).flatten()

    before = rest[:, :5].clone()
    rest[:left, 4] = scores[:left]
    rest[holes, :4] = before[fillers, :4]
    rest[holes, 4] = scores[fillers]
    if end > left:  # dropped rows that no hole asked for: the place of the first sees them all
        last_seen = min(left + 1, end - 1)
        rest[left, :4] = before[last_seen, :4]
        rest[left, 4] = scores[last_seen]
    return left


def suppress(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    corner_scores: Tensor,
    *,
    max_num: int,
    legacy: bool = False,
    plus_one: bool = True,
    **settings: Any,
) -> SoftNMSResult:
    """Run soft-NMS on the detections of an image, in its sound form or in the official one.

    Args:
        boxes (Tensor): (N, 4) x1, y1, x2, y2 in pixels.
        scores (Tensor): (N,).
        labels (Tensor): (N,) classes.
        corner_scores (Tensor): (N, 2) scores of the two corners.
        max_num (int): Boxes kept.
        legacy (bool): Whether to run :func:`legacy_soft_nms` on each class, stale rows and
            misplaced corner scores included; then the order of the boxes matters.
        plus_one (bool): Whether a box is ``x2 - x1 + 1`` wide, which it always is in the official
            form.
        **settings (Any): Further arguments of :func:`soft_nms` or :func:`legacy_soft_nms`.

    Returns:
        SoftNMSResult: At most ``max_num`` boxes.

    Raises:
        ValueError: ``legacy`` without ``plus_one``.
    """
    if not legacy:
        return soft_nms(
            boxes,
            scores,
            labels,
            corner_scores=corner_scores,
            max_num=max_num,
            plus_one=plus_one,
            **settings,
        )
    if not plus_one:
        raise ValueError(
            "test_cfg.nms.legacy=True is the official soft-NMS, whose boxes are x2 - x1 + 1 wide: "
            "set legacy=False, or bbox_head.legacy_plus_one=True."
        )
    rows = torch.cat((boxes, scores[:, None], corner_scores), 1).float().cpu().numpy()
    classes = labels.cpu().numpy()
    present = np.unique(classes)
    done = [legacy_soft_nms(rows[classes == c], **settings)[0] for c in present]
    left = torch.from_numpy(np.concatenate([*done, rows[:0]])).to(boxes)
    left_labels = torch.from_numpy(np.repeat(present, [len(d) for d in done])).to(labels)
    order = left[:, 4].argsort(descending=True, stable=True)[:max_num]
    return SoftNMSResult(left[order, :4], left[order, 4], left_labels[order])
