"""COCO's figures of boxes, computed here by faster-coco-eval, for all classes and for each."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from terminaltables import AsciiTable

from mmext.files import replacing

from .coco import CocoDetections, category_ids, class_names, read_coco, records

FIGURES = ("AP", "AP50", "AP75", "APS", "APM", "APL", "AR1", "AR10", "AR100", "ARS", "ARM", "ARL")
"""COCO's twelve, in its order."""

_AREAS = ("all", "small", "medium", "large")
_MAX_DETS = (1, 10, 100)


class CocoResult(NamedTuple):
    """COCO's figures, as fractions, NaN where a class has no objects of the kind.

    Attributes:
        classes (tuple[str, ...]): C names.
        num_objects (ndarray): (C,) objects without crowds.
        per_class (ndarray): (C, 12) the figures of each class.
        mean (ndarray): (12,) their means, which are what the server reports.
    """

    classes: tuple[str, ...]
    num_objects: np.ndarray
    per_class: np.ndarray
    mean: np.ndarray

    def figures(self) -> dict[str, float]:
        """Return the twelve means by name."""
        return dict(zip(FIGURES, self.mean.tolist(), strict=True))


def evaluate(
    detections: CocoDetections, labels: Path, classes: Sequence[str] | None = None
) -> CocoResult:
    """Compute what COCO's server would report for detections of boxes.

    Args:
        detections: Of all images of ``labels``.
        labels: COCO json with annotations, such as ``instances_val2017.json``.
        classes: Names of the classes in the order of the labels; COCO's 80 by default.

    Raises:
        ValueError: See :func:`mmext.leaderboards.coco.category_ids`.
    """
    classes = tuple(classes or class_names())
    ids = category_ids(detections, read_coco(labels), classes, labels)
    truth = COCO(str(labels))
    evaluation = COCOeval_faster(truth, truth.loadRes(records(detections, ids)), "bbox")
    evaluation.params.catIds = ids
    evaluation.params.maxDets = list(_MAX_DETS)
    evaluation.evaluate()
    evaluation.accumulate()
    # (IoU, recall, class, area, detections) and (IoU, class, area, detections), -1 for no objects.
    precision, recall = (np.asarray(evaluation.eval[key]) for key in ("precision", "recall"))
    order = [evaluation.params.catIds.index(category) for category in ids]
    per_class = _figures(precision, recall)[order]
    counts = [len(truth.getAnnIds(catIds=[category], iscrowd=False)) for category in ids]
    with np.errstate(invalid="ignore"):
        mean = np.nansum(per_class, 0) / (~np.isnan(per_class)).sum(0)
    return CocoResult(classes, np.array(counts), per_class, mean)


def _figures(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Return COCO's figures of each class, (C, 12)."""
    with np.errstate(invalid="ignore"):
        precision = np.where(precision < 0, np.nan, precision)
        recall = np.where(recall < 0, np.nan, recall)
        columns = [precision[..., 0, -1].mean((0, 1))]
        columns += [precision[threshold, ..., 0, -1].mean(0) for threshold in (0, 5)]
        areas = range(1, len(_AREAS))
        columns += [precision[..., area, -1].mean((0, 1)) for area in areas]
        columns += [recall[..., 0, limit].mean(0) for limit in range(len(_MAX_DETS))]
        columns += [recall[..., area, -1].mean(0) for area in areas]
    return np.stack(columns, 1)


def table_rows(result: CocoResult) -> list[list[str]]:
    """Return header, a row per class and the mean, in percent; ``-`` where there are no objects."""
    rows = [["class", "objects", *FIGURES]]
    for name, count, figures in zip(
        result.classes, result.num_objects, result.per_class, strict=True
    ):
        rows.append([name, str(count), *_percent(figures)])
    rows.append(["mean", str(result.num_objects.sum()), *_percent(result.mean)])
    return rows


def format_table(result: CocoResult) -> str:
    """Return :func:`table_rows` for a terminal."""
    table = AsciiTable(table_rows(result))
    table.inner_footing_row_border = True
    return str(table.table)


def write_table(path: Path, result: CocoResult) -> None:
    """Write :func:`table_rows` as csv; the file appears complete or not at all.

    Args:
        path: The file; its folder is made if need be.
        result: Figures.
    """
    with replacing(path) as part, part.open("w", newline="") as file:
        csv.writer(file).writerows(table_rows(result))


def _percent(figures: np.ndarray) -> list[str]:
    """Format fractions."""
    return ["-" if np.isnan(value) else f"{100 * value:.1f}" for value in figures]
