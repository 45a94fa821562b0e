"""Average precision and recall of 3-D boxes, for all scenes, classes and thresholds in one pass.

A detection goes to the object of its scene and class with the largest IoU. It is right if that IoU
is above (not at) the threshold and no detection of a higher score went to the same object; there is
no second choice. AP is the area under precision made monotone (VOC 2012). Source: the official
evaluation of VoteNet, which Group-Free-3D uses too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmext.ops import box3d_iou


@dataclass(frozen=True)
class SceneMatches:
    """Which object each detection of a scene goes to, before any threshold.

    Attributes:
        label: (N,) classes of the detections.
        score: (N,) their scores.
        iou: (N,) IoU with the object; 0 where the scene has none of the class.
        target: (N,) index of the object in the scene; meaningless where ``iou`` is 0.
        truth_label: (G,) classes of the objects.
    """

    label: np.ndarray
    score: np.ndarray
    iou: np.ndarray
    target: np.ndarray
    truth_label: np.ndarray


@dataclass(frozen=True, kw_only=True)
class APTable:
    """AP and recall per threshold and class.

    Attributes:
        iou_thrs: T thresholds.
        ap: (T, C) in [0, 1]; NaN where a class has no object.
        recall: (T, C) share of the objects that some detection finds, NaN likewise.
        num_objects: (C,) objects.
        num_detections: (C,) detections.
    """

    iou_thrs: tuple[float, ...]
    ap: np.ndarray
    recall: np.ndarray
    num_objects: np.ndarray
    num_detections: np.ndarray

    def means(self, official_nan: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Return (T,) mAP and (T,) mAR over the classes that have objects; NaN if none has.

        Args:
            official_nan: Let classes that were found but have no object take part with NaN, as in
                the official code, whose mean then is NaN.
        """
        counted = self.num_objects > 0
        if official_nan:
            counted = counted | (self.num_detections > 0)
        if not counted.any():
            nothing = np.full(len(self.iou_thrs), np.nan)
            return nothing, nothing
        return self.ap[:, counted].mean(axis=1), self.recall[:, counted].mean(axis=1)


def match_scene(
    boxes: Tensor, labels: np.ndarray, scores: np.ndarray, truth: Tensor, truth_labels: np.ndarray
) -> SceneMatches:
    """Find the object of the largest IoU for every detection of a scene.

    Args:
        boxes: (N, 7) detections, as :class:`~mmext.detection3d.structures.Boxes3D`.
        labels: (N,) their classes.
        scores: (N,) their scores.
        truth: (G, 7) objects.
        truth_labels: (G,) their classes.
    """
    iou, target = np.zeros(len(labels)), np.zeros(len(labels), np.int64)
    first, back = _distinct(boxes.double().numpy())
    found = _iou_table(boxes.double()[first], truth.double())
    for label in np.unique(truth_labels):
        rows, objects = np.flatnonzero(labels == label), np.flatnonzero(truth_labels == label)
        if len(rows):
            part = found[np.ix_(back[rows], objects)]
            best = part.argmax(axis=1)  # of equal ones the first, as in the official code
            iou[rows], target[rows] = part[np.arange(len(rows)), best], objects[best]
    return SceneMatches(
        np.asarray(labels, np.int64), np.asarray(scores), iou, target, np.asarray(truth_labels)
    )


def _iou_table(boxes: Tensor, truth: Tensor) -> np.ndarray:
    """Return the (N, G) IoU of (N, 7) and (G, 7) boxes."""
    # Boxes farther apart than the spheres around them share nothing: most detections are.
    radii = [0.5 * part[:, 3:6].norm(dim=1) for part in (boxes, truth)]
    near = torch.cdist(boxes[:, :3], truth[:, :3]) <= radii[0][:, None] + radii[1] + 1e-6
    table, rows = np.zeros(near.shape), near.any(dim=1).numpy()
    if rows.any():
        table[rows] = box3d_iou(boxes[rows], truth).numpy()
    return table


def _distinct(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of distinct boxes, and for each box which of them it equals.

    Detectors give each box once per class; its IoUs are the same each time.
    """
    key = boxes @ np.random.default_rng(0).standard_normal(boxes.shape[1])
    _, first, back = np.unique(key, return_index=True, return_inverse=True)
    if np.array_equal(boxes[first][back], boxes):
        return first, back
    return np.arange(len(boxes)), np.arange(len(boxes))


def average_precision(
    scenes: Sequence[SceneMatches], num_classes: int, iou_thrs: Sequence[float]
) -> APTable:
    """Turn the matches of all scenes into AP and recall.

    Detections of equal scores keep their order: by scene, then as they came.

    Args:
        scenes: Of :func:`match_scene`.
        num_classes: Number of classes.
        iou_thrs: Thresholds.
    """
    objects = [len(scene.truth_label) for scene in scenes]
    first = np.cumsum([0, *objects[:-1]])
    label = _join([scene.label for scene in scenes], np.int64)
    score = _join([scene.score for scene in scenes], np.float64)
    iou = _join([scene.iou for scene in scenes], np.float64)
    target = _join(
        [scene.target + start for scene, start in zip(scenes, first, strict=True)], np.int64
    )
    truth_label = _join([scene.truth_label for scene in scenes], np.int64)
    num_objects = np.bincount(truth_label, minlength=num_classes)
    num_detections = np.bincount(label, minlength=num_classes)

    useful = num_objects[label] > 0 if len(label) else np.zeros(0, bool)
    label, score, iou, target = (part[useful] for part in (label, score, iou, target))
    order = np.lexsort((-score, label))
    label, iou, target = label[order], iou[order], target[order]
    bounds = np.searchsorted(label, np.arange(num_classes + 1))
    ap = np.full((len(iou_thrs), num_classes), np.nan)
    recall = np.full_like(ap, np.nan)
    for row, threshold in enumerate(iou_thrs):
        right = _right(iou, target, threshold)
        for kind in np.flatnonzero(num_objects):
            part = right[bounds[kind] : bounds[kind + 1]]
            hits = part.cumsum()
            ap[row, kind] = _area(hits, num_objects[kind])
            recall[row, kind] = part.sum() / num_objects[kind]
    return APTable(
        iou_thrs=tuple(iou_thrs),
        ap=ap,
        recall=recall,
        num_objects=num_objects,
        num_detections=num_detections,
    )


def _join(parts: Sequence[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def _right(iou: np.ndarray, target: np.ndarray, threshold: float) -> np.ndarray:
    """Return (N,) bool: for each object the first detection above the threshold."""
    above = np.flatnonzero(iou > threshold)
    _, first = np.unique(target[above], return_index=True)
    right = np.zeros(len(iou), bool)
    right[above[first]] = True
    return right


def _area(hits: np.ndarray, count: int) -> float:
    """Return the area under the monotone precision of detections by falling score."""
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(hits, prepend=0) * best).sum() / count)


def to_numpy(values: Tensor | np.ndarray | Sequence) -> np.ndarray:
    """Return a tensor of any device, an array or a list as an array."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def to_tensor(values: Tensor | np.ndarray) -> Tensor:
    """Return a tensor of any device or an array as a tensor on the CPU."""
    return torch.as_tensor(values).detach().cpu()
