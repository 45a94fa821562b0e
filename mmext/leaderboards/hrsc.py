"""HRSC2016: ships in harbours; AP by VOC 2007 and VOC 2012 at IoU 0.5, one class.

Annotations are xml files with boxes as centre, size and angle. mmrotate's ``HRSCDataset`` reads
them for training, but without the ``difficult`` flags; here difficult ships count as in VOC.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmext.rotated.evaluation import Detections, GroundTruth, join_ground_truth, to_corners

from .rotated_ap import summary

CLASSES = ("ship",)
_BOX = ("mbox_cx", "mbox_cy", "mbox_w", "mbox_h", "mbox_ang")


def read_ground_truth(folder: Path, images: Sequence[str]) -> GroundTruth:
    """Read the xml files of HRSC2016.

    Args:
        folder: Such as ``HRSC2016/FullDataSet/Annotations``.
        images: Names of the images, such as the lines of ``ImageSets/test.txt``.

    Raises:
        FileNotFoundError: An image has no xml file.
        ValueError: A file is no xml or lacks a field of a box.
    """
    corners, labels, difficult = [], [], []
    for image in images:
        path = Path(folder) / f"{image}.xml"
        if not path.is_file():
            raise FileNotFoundError(f"image {image!r} has no annotation file {path}")
        try:
            ships = list(ElementTree.parse(path).getroot().iter("HRSC_Object"))
        except ElementTree.ParseError as error:
            raise ValueError(f"{path} is not valid xml ({error})") from error
        boxes = [[_number(ship, field, path) for field in _BOX] for ship in ships]
        corners.append(to_corners(np.array(boxes, dtype=np.float64).reshape(-1, 5)))
        labels.append(np.zeros(len(ships), dtype=np.int64))
        flags = [ship.findtext("difficult", "0").strip() not in ("", "0") for ship in ships]
        difficult.append(np.array(flags, dtype=bool))
    return join_ground_truth(images, corners, labels, difficult)


def evaluate(detections: Detections, truth: GroundTruth) -> dict[str, float]:
    """Return ``AP07`` and ``AP12`` at IoU 0.5, and the means over 0.5 to 0.95, as fractions.

    Args:
        detections: Detections, label 0.
        truth: Result of :func:`read_ground_truth`.
    """
    return summary(detections, truth, CLASSES)


def _number(ship: ElementTree.Element, field: str, path: Path) -> float:
    text = ship.findtext(field)
    try:
        return float(text if text is not None else "")
    except ValueError as error:
        raise ValueError(
            f"{path}: object {ship.findtext('Object_ID', '?')} has {field} = {text!r}: expected a "
            "number"
        ) from error
