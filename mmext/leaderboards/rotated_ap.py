"""What the benchmarks of rotated boxes share: reading predictions, AP at several thresholds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmext.rotated.evaluation import (
    APResult,
    Detections,
    GroundTruth,
    match,
    read_task_files,
    score_matches,
)
from mmext.rotated.evaluation.samples import image_name, join_predictions, prediction_of

from .predictions import read_samples

IOU_THRS = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())
"""0.5, 0.55, ..., 0.95."""


def load_predictions(source: Path, classes: Sequence[str], *, task: int = 1) -> Detections:
    """Read predictions of images or patches.

    Args:
        source: A ``.pkl`` that ``tools/test.py --out`` wrote, or a zip or folder with
            ``Task<n>_<class>.txt`` files. A pickle can run code: load only your own.
        classes: Names of the classes.
        task: Which class files to read, 1 or 2.

    Raises:
        FileNotFoundError: ``source`` or the file of a class does not exist.
        ValueError: ``source`` cannot be read or holds something else.
    """
    source = Path(source)
    if source.suffix not in (".pkl", ".pickle"):
        return read_task_files(source, classes, task=task)
    samples = read_samples(source, lambda sample: (image_name(sample), prediction_of(sample)))
    return join_predictions(*zip(*samples, strict=True)) if samples else join_predictions([], [])


def average_precision(
    detections: Detections,
    truth: GroundTruth,
    classes: Sequence[str],
    *,
    iou_thrs: Sequence[float] = IOU_THRS,
    eval_mode: str = "11points",
    horizontal: bool = False,
) -> APResult:
    """Return the AP of every class at every threshold by DOTA's and VOC's rules.

    Args:
        detections: Detections in whole images.
        truth: All objects.
        classes: Names of the classes.
        iou_thrs: Thresholds; a match needs an IoU above.
        eval_mode: ``"11points"`` (VOC 2007) or ``"area"`` (VOC 2012).
        horizontal: Compare the horizontal boxes around.
    """
    matches = match(
        detections,
        truth,
        num_classes=len(classes),
        min_iou=min(iou_thrs),
        horizontal=horizontal,
    )
    return score_matches(matches, truth.difficult, iou_thrs=iou_thrs, eval_mode=eval_mode)


def summary(detections: Detections, truth: GroundTruth, classes: Sequence[str]) -> dict[str, float]:
    """Return ``AP07`` and ``AP12`` at IoU 0.5 and their means over 0.5 to 0.95, as fractions.

    Args:
        detections: Detections in whole images.
        truth: All objects.
        classes: Names of the classes; the mean goes over all of them.

    Returns:
        ``AP07``, ``AP12``, ``AP07_50:95``, ``AP12_50:95``.
    """
    figures = {}
    for name, eval_mode in (("AP07", "11points"), ("AP12", "area")):
        means = average_precision(detections, truth, classes, eval_mode=eval_mode).mean_ap()
        figures[name] = float(means[0])
        figures[f"{name}_50:95"] = float(means.mean())
    return figures
