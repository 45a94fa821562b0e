"""CPN's post-processing written down step by step, one pair and one proposal at a time.

What a port of the method's description without any vectorising of its own looks like: top k of each
class, then of all; every pair of corners; the classifiers, which pool all proposals at once, as
written for a GPU; then fusion, flip consistency and soft-NMS class by class, box by box. (The
official code has the last of these compiled.) ``cpn.py`` times it beside the package's; the tests
compare the detections of both.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Array = np.ndarray
Classify = Callable[[Tensor], Tensor]
"""From (N, 5) regions (image, x1, y1, x2, y2 in cells) to (N, C) logits."""


@dataclass(frozen=True)
class Settings:
    """The published numbers.

    Attributes:
        num_peaks (int): Corners of each kind per view.
        kernel (int): Window of a peak.
        grouping_thr (float): Least probability of the binary classifier.
        num_pairs (int): Detections kept per view.
        min_iou (float): Less overlap with the mirrored view counts as none.
        sigma (float): Of soft-NMS.
        min_score (float): What soft-NMS takes below is dropped.
        merge_exponent (float): Of the weights with which corners are averaged.
        keep (int): Detections of an image.
    """

    num_peaks: int = 70
    kernel: int = 3
    grouping_thr: float = 0.2
    num_pairs: int = 1000
    min_iou: float = 0.3
    sigma: float = 0.5
    min_score: float = 1e-3
    merge_exponent: float = 10.0
    keep: int = 100


class Peak(NamedTuple):
    """A corner: its score, class and cell."""

    score: float
    label: int
    x: int
    y: int


@dataclass
class Proposal:
    """A pair of corners, and what becomes of it.

    Attributes:
        view (int): 0, or 1 for the mirrored image.
        top_left (Peak): Corner.
        bottom_right (Peak): Corner.
        score (float): Of the corners, later fused.
        box (list[float]): x1, y1, x2, y2 in cells, later in pixels.
    """

    view: int
    top_left: Peak
    bottom_right: Peak
    score: float
    box: list[float]


def find_corners(heat: Tensor, settings: Settings) -> list[Peak]:
    """Find the best corners of one view.

    Args:
        heat (Tensor): (C, H, W) logits.
        settings (Settings): Numbers of the method.
    """
    prob = heat.sigmoid()
    highest = F.max_pool2d(prob[None], settings.kernel, 1, settings.kernel // 2)[0]
    peaks = torch.where(prob == highest, prob, 0)
    width = heat.shape[-1]
    scores, cells = peaks.flatten(1).topk(settings.num_peaks)
    best, index = scores.flatten().topk(settings.num_peaks)
    found = []
    for score, place in zip(best.tolist(), index.tolist(), strict=True):
        label, rank = divmod(place, settings.num_peaks)
        y, x = divmod(int(cells[label, rank]), width)
        found.append(Peak(score, label, x, y))
    return found


def pair_up(tl_heat: Tensor, br_heat: Tensor, settings: Settings) -> list[Proposal]:
    """Try all pairs of a top-left and a bottom-right corner in each view.

    Args:
        tl_heat (Tensor): (views, C, H, W) logits.
        br_heat (Tensor): (views, C, H, W) logits.
        settings (Settings): Numbers of the method.
    """
    proposals = []
    for view in range(len(tl_heat)):
        corners = (find_corners(heat[view], settings) for heat in (tl_heat, br_heat))
        top_left, bottom_right = corners
        for tl in top_left:
            for br in bottom_right:
                if tl.label != br.label or br.x < tl.x or br.y < tl.y:
                    continue
                score = (tl.score + br.score) / 2
                if score > 0:
                    box = [float(tl.x), float(tl.y), float(br.x), float(br.y)]
                    proposals.append(Proposal(view, tl, br, score, box))
    return proposals


def regions(proposals: Sequence[Proposal]) -> Tensor:
    """Return (N, 5) view, x1, y1, x2, y2 in cells; a box ends behind its last cell."""
    rows = [[p.view, p.box[0], p.box[1], p.box[2] + 1, p.box[3] + 1] for p in proposals]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 5)


def group(
    proposals: Sequence[Proposal], classify: Classify, settings: Settings
) -> tuple[list[Proposal], list[bool]]:
    """Leave out what the binary classifier calls no object.

    Args:
        proposals (Sequence[Proposal]): Of all views.
        classify (Callable): Binary classifier.
        settings (Settings): Numbers of the method.

    Returns:
        tuple[list[Proposal], list[bool]]: Those that pass, all of a view where none does, and for
        each whether it is above the threshold.
    """
    probs = classify(regions(proposals))[:, 0].sigmoid().tolist()
    passed = [prob >= settings.grouping_thr for prob in probs]
    views = {p.view for p, ok in zip(proposals, passed, strict=True) if ok}
    kept = [(p, ok) for p, ok in zip(proposals, passed, strict=True) if ok or p.view not in views]
    return [p for p, _ in kept], [ok for _, ok in kept]


def fuse(
    proposals: list[Proposal],
    passed: list[bool],
    probs: Tensor,
    offsets: tuple[Tensor, Tensor],
    settings: Settings,
) -> list[Proposal]:
    """Fuse the scores of both stages, and move corners to where the offsets say.

    Args:
        proposals (list[Proposal]): Of all views.
        passed (list[bool]): Whether each is above the threshold of the binary classifier.
        probs (Tensor): (N, C) of the multi-class classifier.
        offsets (tuple[Tensor, Tensor]): (views, 2, H, W) of top-left and bottom-right corners.
        settings (Settings): Numbers of the method.

    Returns:
        list[Proposal]: The best of each view, best first.
    """
    for proposal, ok, prob in zip(proposals, passed, probs, strict=True):
        class_prob = float(prob[proposal.top_left.label])
        proposal.score = (proposal.score + 0.5) * (class_prob + 0.5) - 0.25 - (not ok)
        x1, y1, x2, y2 = (int(side) for side in proposal.box)
        tl = offsets[0][proposal.view, :, y1, x1].tolist()
        br = offsets[1][proposal.view, :, y2, x2].tolist()
        proposal.box = [x1 + tl[0], y1 + tl[1], x2 + br[0], y2 + br[1]]
    best = []
    for view in sorted({p.view for p in proposals}):
        mine = sorted((p for p in proposals if p.view == view), key=lambda p: -p.score)
        best += mine[: settings.num_pairs]
    return best


def to_pixels(
    proposals: Sequence[Proposal], meta: dict, map_shape: tuple[int, int]
) -> list[Proposal]:
    """Take boxes back to the original image; leave out those outside and without a score.

    Args:
        proposals (Sequence[Proposal]): Of the plain and the mirrored view.
        meta (dict): ``batch_input_shape``, ``img_shape``, ``border`` and ``scale_factor``.
        map_shape (tuple[int, int]): Height and width in cells.
    """
    input_height, input_width = meta["batch_input_shape"]
    cell_w, cell_h = input_width / map_shape[1], input_height / map_shape[0]
    top, bottom, left, right = meta["border"]
    scale_w, scale_h = meta["scale_factor"]
    width, height = right - left, bottom - top
    inside = []
    for proposal in proposals:
        x1, y1, x2, y2 = proposal.box
        x1, y1, x2, y2 = x1 * cell_w, y1 * cell_h, x2 * cell_w, y2 * cell_h
        if proposal.view == 1:
            x1, x2 = meta["img_shape"][1] - x2, meta["img_shape"][1] - x1
        x1, y1, x2, y2 = x1 - left, y1 - top, x2 - left, y2 - top
        if x1 < -5 or y1 < -5 or x2 > width + 5 or y2 > height + 5 or proposal.score <= 0:
            continue
        proposal.box = [
            min(max(x1, 0), width) / scale_w,
            min(max(y1, 0), height) / scale_h,
            min(max(x2, 0), width) / scale_w,
            min(max(y2, 0), height) / scale_h,
        ]
        inside.append(proposal)
    return inside


def iou(box: Sequence[float], other: Sequence[float]) -> float:
    """IoU of two boxes that are ``x2 - x1 + 1`` wide."""
    width = min(box[2], other[2]) - max(box[0], other[0]) + 1
    height = min(box[3], other[3]) - max(box[1], other[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(b[2] - b[0] + 1) * (b[3] - b[1] + 1) for b in (box, other)]
    return width * height / (areas[0] + areas[1] - width * height)


def boost_flips(proposals: Sequence[Proposal], settings: Settings) -> None:
    """Multiply each score by 1 + the overlap with the best partner in the other view, in place."""
    support = []
    for proposal in proposals:
        best = 0.0
        for other in proposals:
            if other.view != proposal.view and other.top_left.label == proposal.top_left.label:
                best = max(best, iou(proposal.box, other.box))
        support.append(best if best >= settings.min_iou else 0.0)
    for proposal, more in zip(proposals, support, strict=True):
        proposal.score *= 1 + more


def suppress(proposals: Sequence[Proposal], settings: Settings) -> tuple[Array, Array, Array]:
    """Soft-NMS with merging of corners, one class after the other.

    Args:
        proposals (Sequence[Proposal]): Of all views, in pixels.
        settings (Settings): Numbers of the method.

    Returns:
        tuple[ndarray, ndarray, ndarray]: (K, 4) boxes, (K,) scores and (K,) classes, best first.
    """
    found: list[tuple[float, list[float], int]] = []
    for label in sorted({p.top_left.label for p in proposals}):
        left = [p for p in proposals if p.top_left.label == label]
        while left:
            kept = max(left, key=lambda p: p.score)
            left.remove(kept)
            found.append((kept.score, merge_step(kept, left, settings), label))
    found.sort(key=lambda row: -row[0])
    found = found[: settings.keep]
    scores, boxes, labels = zip(*found, strict=True) if found else ((), (), ())
    return (
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(scores, dtype=np.float32),
        np.array(labels, dtype=np.int64),
    )


def merge_step(kept: Proposal, left: list[Proposal], settings: Settings) -> list[float]:
    """Lower the scores of those that overlap a kept one, in place; return its merged box."""
    tl_weight, br_weight = kept.top_left.score, kept.bottom_right.score
    weights = [tl_weight, tl_weight, br_weight, br_weight]
    totals = [weight * side for weight, side in zip(weights, kept.box, strict=True)]
    for other in list(left):
        overlap = iou(kept.box, other.box)
        if overlap <= 0:
            continue
        decay = math.exp(-(overlap**2) / settings.sigma)
        share = (1 - decay) ** settings.merge_exponent
        tl_weight, br_weight = share * other.top_left.score, share * other.bottom_right.score
        for side, weight in enumerate((tl_weight, tl_weight, br_weight, br_weight)):
            weights[side] += weight
            totals[side] += weight * other.box[side]
        other.score *= decay
        if other.score < settings.min_score:
            left.remove(other)
    return [total / weight for total, weight in zip(totals, weights, strict=True)]
