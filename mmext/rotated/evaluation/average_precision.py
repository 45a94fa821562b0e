"""Average precision of quadrilaterals with the rules of DOTA's devkit, for all images at once.

A detection goes to the object of its image and class with the largest IoU. If that IoU is above
(not at) the threshold, it is right when the object is not difficult and no detection of a higher
score went there, a duplicate (false) when one did, and left out when the object is difficult. All
others are false. Source: DOTA_devkit, ``dota_evaluation_task1.py`` and ``..._task2.py``, which
follow VOC's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .quads import (
    horizontal_boxes,
    horizontal_pair_iou,
    iou_bounds,
    overlapping_pairs,
    pair_iou,
)
from .records import Detections, GroundTruth

MODES = ("11points", "area")
RECALLS = np.arange(0.0, 1.1, 0.1)
"""Recalls of the 11-point AP, to the last bit as the devkit has them (0.3 is 0.30000000000000004,
which a recall of 3/10 does not reach)."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Which object each detection goes to, before any threshold; detections by class, then score.

    Attributes:
        label: (N,) class of each detection, ascending.
        score: (N,) its score, descending within a class.
        target: (N,) index of its object; meaningless where ``iou`` is 0.
        iou: (N,) IoU with that object; 0 where no object reaches the least threshold.
        target_label: (G,) class of each object.
        num_classes: Number of classes.
    """

    label: np.ndarray
    score: np.ndarray
    target: np.ndarray
    iou: np.ndarray
    target_label: np.ndarray
    num_classes: int


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Precision over recall of one class at one threshold, one point per detection by score.

    Detections of difficult objects repeat the point before them, as in the devkit.
    """

    score: np.ndarray
    recall: np.ndarray
    precision: np.ndarray


@dataclass(frozen=True, kw_only=True)
class APResult:
    """AP per threshold and class.

    Attributes:
        iou_thrs: T thresholds.
        ap: (T, C) AP in [0, 1]; NaN where a class has no object to be found.
        num_objects: (C,) objects to be found, so without difficult ones.
        num_ignored: (C,) difficult ones.
        num_detections: (C,) detections.
        curves: Curves by threshold, then class.
    """

    iou_thrs: tuple[float, ...]
    ap: np.ndarray
    num_objects: np.ndarray
    num_ignored: np.ndarray
    num_detections: np.ndarray
    curves: tuple[tuple[Curve, ...], ...]

    def mean_ap(self, *, skip_absent: bool = False) -> np.ndarray:
        """Return the (T,) mean over classes.

        Args:
            skip_absent: Leave classes without objects out. Otherwise they count as 0, as in the
                devkit, whose mean goes over all classes that the data set has.

        Returns:
            NaN where nothing is left.
        """
        if not skip_absent:
            return np.nan_to_num(self.ap).mean(axis=1)
        present = self.num_objects > 0
        return self.ap[:, present].mean(axis=1) if present.any() else self.ap[:, 0]


def ranking(score: np.ndarray, image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the order by descending score, the same whatever the order of the rows.

    Args:
        score: (N,) scores.
        image: (N,) image of each row: decides between equal scores.
        corners: (N, 4, 2): decide after that.
    """
    order = np.argsort(-score, kind="stable")
    if not (np.diff(score[order]) == 0).any():
        return order
    return np.lexsort((*corners.reshape(-1, 8).T[::-1], image, -score))


def match(
    detections: Detections,
    truth: GroundTruth,
    *,
    num_classes: int,
    min_iou: float,
    horizontal: bool = False,
) -> Matches:
    """Find the object of the largest IoU for every detection.

    Args:
        detections: Detections, in images that ``truth`` has.
        truth: All objects.
        num_classes: Number of classes.
        min_iou: Smallest threshold that will be asked for; smaller IoUs are not computed.
        horizontal: Compare the horizontal boxes around (Task 2) in place of the quadrilaterals.

    Raises:
        ValueError: A detection lies in an image that ``truth`` does not list, or a label is not
            below ``num_classes``.
    """
    image = _common_images(detections, truth)
    for name, labels in (("detections", detections.label), ("ground truth", truth.label)):
        if len(labels) and (labels.min() < 0 or labels.max() >= num_classes):
            wrong = labels.max() if labels.max() >= num_classes else labels.min()
            raise ValueError(
                f"label {wrong} in the {name}, but there are {num_classes} classes: expected 0 to "
                f"{num_classes - 1}"
            )
    corners, target_corners = detections.corners, truth.corners
    found, target = overlapping_pairs(
        horizontal_boxes(corners) + ([-2, -2, 2, 2] if horizontal else 0),
        image * num_classes + detections.label,
        horizontal_boxes(target_corners),
        truth.image * num_classes + truth.label,
    )
    if horizontal:
        iou = horizontal_pair_iou(corners[found], np.trunc(target_corners[target]))
    else:
        possible = iou_bounds(corners, target_corners, (found, target)) > min_iou
        found, target = found[possible], target[possible]
        iou = pair_iou(corners[found], target_corners[target])
    # The largest IoU of each detection; of equal ones the first object, as argmax does.
    best = np.lexsort((target, -iou, found))
    rows, first = np.unique(found[best], return_index=True)
    best_iou, best_target = np.zeros(len(detections)), np.zeros(len(detections), np.int64)
    best_iou[rows], best_target[rows] = iou[best[first]], target[best[first]]
    # Images by name, so that the order of equal scores does not depend on that of the files.
    by_name = np.argsort(np.argsort(np.array(truth.images)))
    order = ranking(detections.score, by_name[image], corners)
    order = order[np.argsort(detections.label[order], kind="stable")]
    return Matches(
        label=detections.label[order],
        score=detections.score[order],
        target=best_target[order],
        iou=best_iou[order],
        target_label=truth.label,
        num_classes=num_classes,
    )


def score_matches(
    matches: Matches,
    ignored: np.ndarray,
    *,
    iou_thrs: Sequence[float] = (0.5,),
    eval_mode: str = "11points",
) -> APResult:
    """Turn matches into AP.

    Args:
        matches: Result of :func:`match`.
        ignored: (G,) bool: objects that count as difficult.
        iou_thrs: Thresholds, none below the ``min_iou`` of the matches.
        eval_mode: ``"11points"`` (VOC 2007) or ``"area"`` (VOC 2012).
    """
    classes = np.arange(matches.num_classes + 1)
    bounds = np.searchsorted(matches.label, classes)
    num_objects = np.bincount(matches.target_label[~ignored], minlength=matches.num_classes)
    average = eleven_point_ap if eval_mode == "11points" else area_ap
    rows, curves = [], []
    for threshold in iou_thrs:
        right, false = _outcomes(matches, ignored, threshold)
        row, found = [], []
        for label in classes[:-1]:
            part = slice(bounds[label], bounds[label + 1])
            hits, faults = np.cumsum(right[part]), np.cumsum(false[part])
            recall = hits / max(num_objects[label], 1)
            precision = hits / np.maximum(hits + faults, 1)
            found.append(Curve(score=matches.score[part], recall=recall, precision=precision))
            row.append(average(recall, precision) if num_objects[label] else np.nan)
        rows.append(row)
        curves.append(tuple(found))
    return APResult(
        iou_thrs=tuple(iou_thrs),
        ap=np.array(rows, dtype=np.float64),
        num_objects=num_objects,
        num_ignored=np.bincount(matches.target_label[ignored], minlength=matches.num_classes),
        num_detections=np.diff(bounds),
        curves=tuple(curves),
    )


def eleven_point_ap(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the VOC 2007 AP: the mean over 11 recalls of the best precision from there on.

    Args:
        recall: (N,) ascending.
        precision: (N,).
    """
    best = np.maximum.accumulate(precision[::-1])[::-1]
    position = np.searchsorted(recall, RECALLS)
    return float(np.append(best, 0.0)[position].sum() / len(RECALLS))


def area_ap(recall: np.ndarray, precision: np.ndarray) -> float:
    """Return the VOC 2012 AP: the area under precision made monotone.

    Args:
        recall: (N,) ascending.
        precision: (N,).
    """
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * best).sum())


def _common_images(detections: Detections, truth: GroundTruth) -> np.ndarray:
    """Return the (N,) image of each detection as an index into the images of the truth."""
    index = {name: i for i, name in enumerate(truth.images)}
    used = np.unique(detections.image)
    unknown = [detections.images[i] for i in used if detections.images[i] not in index]
    if unknown:
        raise ValueError(
            f"there are detections in {len(unknown)} images without ground truth, such as "
            f"{unknown[0]!r}: expected names of the image list or annotation folder, such as "
            f"{next(iter(truth.images), None)!r}. Patches have to be merged first"
        )
    table = np.array([index.get(name, -1) for name in detections.images], dtype=np.int64)
    return table[detections.image] if len(table) else detections.image


def _outcomes(
    matches: Matches, ignored: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) bool: right detections, and false ones."""
    hit = matches.iou > threshold
    left_out = np.zeros(len(hit), bool)
    left_out[hit] = ignored[matches.target[hit]]
    candidates = np.flatnonzero(hit & ~left_out)
    _, first = np.unique(matches.target[candidates], return_index=True)
    right = np.zeros(len(hit), bool)
    right[candidates[first]] = True
    return right, ~right & ~left_out
