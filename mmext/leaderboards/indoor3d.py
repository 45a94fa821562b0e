"""ScanNet V2 and SUN RGB-D boxes: result files of a test, and their figures.

There is no test server for boxes; published figures are of the validation sets (312 scenes of
ScanNet, 5050 of SUN RGB-D).
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from mmext.detection3d.average_precision import APTable, average_precision, match_scene, to_numpy
from mmext.detection3d.datasets import (
    IndoorDet3DDataset,
    ScanNetDet3DDataset,
    SUNRGBDDet3DDataset,
)
from mmext.detection3d.result_files import read_scene, write_scene
from mmext.detection3d.structures import Boxes3D

from .predictions import read_samples

CLASSES = {
    "scannet": ScanNetDet3DDataset.METAINFO["classes"],
    "sunrgbd": SUNRGBDDet3DDataset.METAINFO["classes"],
}


def write_results(
    source: Path, folder: Path, classes: Sequence[str], fmt: str = "text"
) -> list[Path]:
    """Write a text file per scene out of what ``tools/test.py --out`` wrote.

    Args:
        source: The ``.pkl``. A pickle can run code: load only your own.
        folder: Folder to write into.
        classes: Names of the classes.
        fmt: ``text`` or ``votenet``, see :mod:`mmext.detection3d.result_files`.

    Returns:
        The files.
    """

    def write(sample: dict) -> Path:
        found = sample["pred_instances_3d"]
        boxes = Boxes3D(found["bboxes_3d"].tensor.detach().cpu())
        labels, scores = to_numpy(found["labels_3d"]), to_numpy(found["scores_3d"])
        return write_scene(folder, str(sample["sample_idx"]), boxes, labels, scores, classes, fmt)

    return read_samples(source, write)


def evaluate(
    folder: Path, dataset: IndoorDet3DDataset, iou_thrs: Sequence[float] = (0.25, 0.5)
) -> APTable:
    """Return AP and recall of a folder of result files of format ``text``.

    Args:
        folder: The folder, with a file for each scene of the data set.
        dataset: The data set, with its boxes.
        iou_thrs: Thresholds; a match needs an IoU above.

    Raises:
        FileNotFoundError: A scene has no file.
    """
    classes, scenes = dataset.metainfo["classes"], []
    for index in range(len(dataset)):
        truth = dataset.get_data_info(index)
        boxes, labels, scores = read_scene(folder / f"{truth['scene']}.txt", classes)
        objects = torch.from_numpy(truth["boxes"])
        scenes.append(match_scene(boxes.tensor, labels, scores, objects, truth["labels"]))
    return average_precision(scenes, len(classes), iou_thrs)
