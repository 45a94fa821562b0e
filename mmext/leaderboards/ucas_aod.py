"""UCAS-AOD: cars and aeroplanes; mean AP by VOC 2007 and VOC 2012 at IoU 0.5.

The set has no official split: papers name theirs, and figures of different splits do not compare.
Label files have 13 numbers per line: four corners, an angle, and x, y, width, height of the
horizontal box around. Published copies come in two layouts, and both are read: the original folders
``CAR`` and ``PLANE``, and one folder with the class name put in front of each line.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmext.rotated.evaluation import Detections, GroundTruth, join_ground_truth

from .rotated_ap import summary

CLASSES = ("car", "airplane")
_FOLDERS = {"CAR": "car", "PLANE": "airplane"}
_COLUMNS = 13


def read_ground_truth(root: Path, images: Sequence[str]) -> GroundTruth:
    """Read label files of UCAS-AOD.

    Args:
        root: Folder that the images' names start from.
        images: Names without suffix: ``CAR/P0001`` in the original layout, ``P0001`` in the other.

    Raises:
        FileNotFoundError: An image has no txt file.
        ValueError: A malformed line; the message names file and line.
    """
    corners, labels = [], []
    for image in images:
        path = Path(root) / f"{image}.txt"
        if not path.is_file():
            raise FileNotFoundError(
                f"image {image!r} has no label file {path}. Expected one per image, empty for an "
                "image without objects"
            )
        found = [
            _parse(line.split(), f"{path}:{number}", _FOLDERS.get(path.parent.name))
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if line.strip()
        ]
        corners.append(np.array([c for c, _ in found], dtype=np.float64).reshape(-1, 4, 2))
        labels.append(np.array([label for _, label in found], dtype=np.int64))
    difficult = [np.zeros(len(part), dtype=bool) for part in labels]
    return join_ground_truth(images, corners, labels, difficult)


def evaluate(detections: Detections, truth: GroundTruth) -> dict[str, float]:
    """Return ``AP07`` and ``AP12`` at IoU 0.5, and the means over 0.5 to 0.95, as fractions.

    Args:
        detections: Detections, label 0 car, 1 aeroplane.
        truth: Result of :func:`read_ground_truth`.
    """
    return summary(detections, truth, CLASSES)


def _parse(fields: list[str], where: str, folder_class: str | None) -> tuple[list[float], int]:
    """Return the eight corner coordinates and the label of a line."""
    name = folder_class
    if len(fields) == _COLUMNS + 1:
        name, *fields = fields
    try:
        if len(fields) != _COLUMNS:
            raise ValueError(f"{len(fields)} columns")
        values = [float(field) for field in fields[:8]]
        if not all(map(math.isfinite, values)):
            raise ValueError("a coordinate that is not finite")
    except ValueError as error:
        raise ValueError(
            f"{where}: expected [class] x1 y1 ... x4 y4 angle x y width height ({error})"
        ) from error
    if name not in CLASSES:
        raise ValueError(
            f"{where}: class {name!r}; expected {' or '.join(CLASSES)} in front of the line, or a "
            f"file in a folder {' or '.join(_FOLDERS)}"
        )
    return values, CLASSES.index(name)
