"""DOTA v1.0, v1.5 and v2.0: class names, submissions for both tasks, the server's AP computed here.

Task 1 asks for oriented boxes, Task 2 for horizontal ones. The server's figures are the mean over
classes of the 11-point AP at IoU 0.5, and those at 0.75 and over 0.5 to 0.95.
Source: https://captain-whu.github.io/DOTA/tasks.html and the DOTA_devkit.
"""

from collections.abc import Sequence
from pathlib import Path

from mmext.engine import import_host
from mmext.rotated.evaluation import (
    APResult,
    Detections,
    GroundTruth,
    merge_patches,
    read_ground_truth,
    write_task_zip,
)
from mmext.rotated.evaluation.patches import MERGE_IOU

from .rotated_ap import IOU_THRS, average_precision

__all__ = ["VERSIONS", "class_names", "evaluate", "read_ground_truth", "write_submission"]

_DATASETS = {"1.0": "DOTADataset", "1.5": "DOTAv15Dataset", "2.0": "DOTAv2Dataset"}
VERSIONS = tuple(_DATASETS)


def class_names(version: str) -> tuple[str, ...]:
    """Return the 15, 16 or 18 class names of a version, in mmrotate's order.

    Args:
        version: ``"1.0"``, ``"1.5"`` or ``"2.0"``.

    Raises:
        ValueError: Another version.
    """
    if version not in _DATASETS:
        raise ValueError(f"DOTA version {version!r}: expected one of {', '.join(VERSIONS)}")
    import_host("mmrotate")
    from mmrotate.datasets import dota

    return getattr(dota, _DATASETS[version]).METAINFO["classes"]


def write_submission(
    detections: Detections,
    folder: Path,
    classes: Sequence[str],
    *,
    tasks: Sequence[int] = (1, 2),
    merge_iou: float = MERGE_IOU,
) -> list[Path]:
    """Merge patches and write ``Task1.zip`` and ``Task2.zip``, ready for the server.

    Args:
        detections: Detections by patch or whole image, in either of which the horizontal boxes
            around them answer Task 2.
        folder: Folder of the zips; made if need be.
        classes: Names of the classes.
        tasks: Which zips to write.
        merge_iou: IoU threshold of the suppression per image and class.

    Returns:
        The zips, in the order of ``tasks``.
    """
    written = []
    for task in tasks:
        whole = merge_patches(detections, iou_threshold=merge_iou, horizontal=task == 2)
        path = Path(folder) / f"Task{task}.zip"
        written.append(write_task_zip(path, whole, classes, task=task))
    return written


def evaluate(
    detections: Detections,
    truth: GroundTruth,
    classes: Sequence[str],
    *,
    task: int = 1,
    merge_iou: float | None = MERGE_IOU,
    iou_thrs: Sequence[float] = IOU_THRS,
    eval_mode: str = "11points",
) -> APResult:
    """Merge patches and compute what the server would report.

    Args:
        detections: Detections by patch or whole image.
        truth: Objects of the whole images (:func:`read_ground_truth`).
        classes: Names of the classes.
        task: 1 for oriented, 2 for horizontal boxes.
        merge_iou: IoU threshold of the suppression; None: detections are final already.
        iou_thrs: Thresholds of the AP.
        eval_mode: ``"11points"`` as the server's, or ``"area"``.

    Raises:
        ValueError: Detections in an image that ``truth`` does not list.
    """
    horizontal = task == 2
    if merge_iou is not None:
        detections = merge_patches(detections, iou_threshold=merge_iou, horizontal=horizontal)
    return average_precision(
        detections, truth, classes, iou_thrs=iou_thrs, eval_mode=eval_mode, horizontal=horizontal
    )
