"""The files that VoteNet's preparation scripts write, a few per scene in one folder.

ScanNet (``scannet_train_detection_data``): ``<scene>_vert.npy`` (N, 6) aligned points with colours,
``_ins_label.npy`` and ``_sem_label.npy`` (N,), ``_bbox.npy`` (G, 7) centre, full sizes, nyu40 id.
SUN RGB-D (``sunrgbd_pc_bbox_votes_50k_v1_train``): ``<scene>_pc.npz`` (N, 6), ``_bbox.npy`` (G, 8)
centre, half sizes, heading from +x towards -y, class.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .info_files import InfoError
from .structures import Boxes3D


def list_scenes(folder: str, ann_file: str, suffix: str) -> list[str]:
    """Return the names of the scenes to read.

    Args:
        folder: Folder of the scenes' files.
        ann_file: Text file with a name per line; empty: all that the folder has.
        suffix: How the names of the point files end.

    Raises:
        FileNotFoundError: The folder or the list does not exist.
        InfoError: There is no scene.
    """
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"{folder} does not exist. Expected a folder with files *{suffix}; prepare the data "
            "set, or correct data_root and data_prefix['pts']."
        )
    if ann_file and not os.path.isfile(ann_file):
        raise FileNotFoundError(
            f"{ann_file} does not exist. Expected a .txt with the name of a scene per line, a .pkl "
            "info file, or no ann_file for all scenes of the folder."
        )
    if ann_file:
        scenes = Path(ann_file).read_text(encoding="utf-8").split()
    else:
        names = sorted(name for name in os.listdir(folder) if name.endswith(suffix))
        scenes = [name.removesuffix(suffix) for name in names]
    if not scenes:
        raise InfoError(f"no scene: neither {ann_file!r} nor files *{suffix} in {folder} name one.")
    return scenes


def _load_boxes(path: Path, columns: int, meaning: str) -> np.ndarray:
    """Return the boxes of a file; none if there is no file, as in scans without labels."""
    if not path.is_file():
        return np.zeros((0, columns))
    boxes = np.load(path)
    if boxes.size == 0:
        return np.zeros((0, columns))
    if boxes.ndim != 2 or boxes.shape[1] != columns:
        raise InfoError(f"{path} has shape {boxes.shape}. Expected (G, {columns}): {meaning}.")
    return boxes.astype(np.float64)


def scannet_record(
    folder: Path, scene: str, names: Sequence[str], ids: Sequence[int]
) -> dict[str, Any]:
    """Return the record of a scene of ScanNet, as :mod:`.info_files` describes it.

    Args:
        folder: Folder of the files.
        scene: Name of the scene, such as ``scene0000_00``.
        names: Names of the classes.
        ids: Their nyu40 ids.
    """
    table = dict(zip(ids, names, strict=True))
    path = folder / f"{scene}_bbox.npy"
    boxes = _load_boxes(path, 7, "centre, full sizes, nyu40 id")
    boxes = boxes[[int(box[6]) in table for box in boxes]] if len(boxes) else boxes
    masks = {
        f"{kind}_mask_path": name if (folder / name).is_file() else None
        for kind, name in (
            ("instance", f"{scene}_ins_label.npy"),
            ("semantic", f"{scene}_sem_label.npy"),
        )
    }
    return dict(
        scene=scene,
        points_path=f"{scene}_vert.npy",
        num_features=6,
        axis_align_matrix=np.eye(4),  # these points are aligned
        boxes=Boxes3D.from_aligned(boxes[:, :6]).tensor.numpy(),
        names=[table[int(box[6])] for box in boxes],
        **masks,
    )


def sunrgbd_record(folder: Path, scene: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the record of a scene of SUN RGB-D, as :mod:`.info_files` describes it.

    Args:
        folder: Folder of the files.
        scene: Name of the scene, such as ``000017``.
        names: Names of the classes, in VoteNet's order.

    Raises:
        InfoError: A box is of a class that there is not.
    """
    path = folder / f"{scene}_bbox.npy"
    boxes = _load_boxes(path, 8, "centre, half sizes, heading, class")
    labels = boxes[:, 7].astype(int)
    if len(labels) and (labels.min() < 0 or labels.max() >= len(names)):
        raise InfoError(f"{path}: class {labels.max()}. Expected 0 to {len(names) - 1}.")
    return dict(
        scene=scene,
        points_path=f"{scene}_pc.npz",
        num_features=6,
        instance_mask_path=None,
        semantic_mask_path=None,
        axis_align_matrix=np.eye(4),
        boxes=Boxes3D.from_votenet(torch.from_numpy(boxes)).tensor.numpy(),
        names=[names[label] for label in labels],
    )
