"""Info files: what mmdet3d's two versions write about the scenes of a data set, and writing them.

Read: version 1, a list of dicts; version 2 (``info_version`` 1.x), ``metainfo`` and ``data_list``.
Written: version 2, which mmdet3d reads too. Whatever the file, a scene becomes one record::

    scene                 its name
    points_path           relative to the folder of the points (version 2) or the root (version 1)
    num_features          columns of the point file
    instance_mask_path    None where there is none, and likewise ``semantic_mask_path``
    axis_align_matrix     (4, 4), from the frame of the points to that of the boxes, or None
    boxes                 (G, 7) float64, :class:`~mmext.detection3d.structures.Boxes3D`
    names                 G class names
    scene_type            what kind of room it is, where the file says so
"""

import io
import os
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from mmext.files import write_file

_NUMPY_MODULES = ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
_SAFE = {
    *((module, name) for module in _NUMPY_MODULES for name in ("ndarray", "dtype", "_reconstruct")),
    *((module, "scalar") for module in _NUMPY_MODULES),
    *((module, "_frombuffer") for module in ("numpy.core.numeric", "numpy._core.numeric")),
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # how protocol 2 writes bytes
}


class InfoError(ValueError):
    """An info file or the scene that it describes cannot be used; says how to mend it."""


class _PlainUnpickler(pickle.Unpickler):
    """Builds arrays and containers, and runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _SAFE:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}")
        return super().find_class(module, name)


@dataclass(frozen=True)
class InfoFile:
    """What an info file says.

    Attributes:
        records: The scenes.
        classes: Names of the classes by number; empty if the file does not name them.
        version: 1 or 2.
    """

    records: list[dict[str, Any]]
    classes: list[str]
    version: int


def read_infos(path: str, classes: Sequence[str] = ()) -> InfoFile:
    """Read the scenes of an info file.

    Args:
        path: A ``.pkl`` of either version. Only arrays and containers are unpickled, so that a file
            from elsewhere can run nothing.
        classes: Names of the classes in the order of the file's numbers, for files of version 2
            without ``categories``.

    Raises:
        FileNotFoundError: There is no such file.
        InfoError: It is no info file, or a key is missing.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"{path} does not exist. Expected an info file (.pkl); prepare the data set "
            "(docs/detection3d.md), or correct data_root and ann_file."
        )
    try:
        content = _PlainUnpickler(io.BytesIO(Path(path).read_bytes())).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
        raise InfoError(
            f"{path} is no info file of plain arrays and containers ({error}). Expected what "
            "mmdet3d's create_data.py or tools/dataset_converters/indoor3d.py writes."
        ) from error
    if isinstance(content, list):
        records = [_version1(info, f"{path}[{i}]") for i, info in enumerate(content)]
        return InfoFile(records, [], version=1)
    where = f"{path}: data_list"
    if not isinstance(content, dict) or "data_list" not in content:
        raise InfoError(
            f"{path} holds a {type(content).__name__}. Expected a list of scenes (version 1), or a "
            "dict with metainfo and data_list (version 2)."
        )
    names = _category_names(content.get("metainfo", {}), path) or list(classes)
    infos = content["data_list"]
    records = [_version2(info, names, f"{where}[{i}]") for i, info in enumerate(infos)]
    return InfoFile(records, names, version=2)


def _category_names(metainfo: Mapping[str, Any], path: str) -> list[str]:
    categories = metainfo.get("categories", metainfo.get("classes", ()))
    if not isinstance(categories, Mapping):
        return list(categories)
    names = sorted(categories, key=categories.get)
    if [categories[name] for name in names] != list(range(len(names))):
        raise InfoError(
            f"{path}: metainfo.categories has the numbers {sorted(categories.values())}. Expected "
            "0, 1, 2, ... without gaps."
        )
    return names


def _need(info: Mapping[str, Any], key: str, where: str) -> Any:
    """Return ``info[key]``."""
    if not isinstance(info, Mapping) or key not in info:
        known = sorted(info) if isinstance(info, Mapping) else f"a {type(info).__name__}"
        raise InfoError(
            f"{where} has no {key!r} (it has {known}). Write the info file again with "
            "tools/dataset_converters/indoor3d.py, or with mmdet3d's create_data.py."
        )
    return info[key]


def to_boxes(values: Any, where: str) -> np.ndarray:
    """Return (G, 7) float64 boxes of G lists of 6 (axis-aligned) or 7 numbers."""
    boxes = np.asarray(values, np.float64)
    if boxes.size == 0:
        return np.zeros((0, 7))
    if boxes.ndim != 2 or boxes.shape[1] not in (6, 7):
        raise InfoError(
            f"{where}: boxes of shape {boxes.shape}. Expected (G, 6), centre and full sizes, or "
            "(G, 7) with a yaw in radians."
        )
    return np.concatenate((boxes, np.zeros((len(boxes), 7 - boxes.shape[1]))), axis=1)


def _matrix(values: Any, where: str) -> np.ndarray | None:
    if values is None:
        return None
    matrix = np.asarray(values, np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise InfoError(
            f"{where}.axis_align_matrix has shape {matrix.shape} or holds NaN. Expected 4 x 4 "
            "finite numbers."
        )
    return matrix


def _version1(info: Mapping[str, Any], where: str) -> dict[str, Any]:
    cloud, path = _need(info, "point_cloud", where), _need(info, "pts_path", where)
    annos = info.get("annos", {})
    names, boxes = [], np.zeros((0, 7))
    if annos.get("gt_num", 0):
        boxes = to_boxes(_need(annos, "gt_boxes_upright_depth", f"{where}.annos"), where)
        names = [str(name) for name in _need(annos, "name", f"{where}.annos")]
    return _record(
        where,
        scene=PurePosixPath(path).stem,
        points_path=path,
        num_features=int(_need(cloud, "num_features", f"{where}.point_cloud")),
        instance_mask_path=info.get("pts_instance_mask_path"),
        semantic_mask_path=info.get("pts_semantic_mask_path"),
        axis_align_matrix=_matrix(annos.get("axis_align_matrix"), f"{where}.annos"),
        boxes=boxes,
        names=names,
    )


def _version2(info: Mapping[str, Any], classes: Sequence[str], where: str) -> dict[str, Any]:
    lidar = _need(info, "lidar_points", where)
    path = _need(lidar, "lidar_path", f"{where}.lidar_points")
    boxes, names = [], []
    for i, instance in enumerate(info.get("instances", ())):
        here = f"{where}.instances[{i}]"
        box, label = _need(instance, "bbox_3d", here), int(_need(instance, "bbox_label_3d", here))
        if label < 0:  # mmdet3d's mark of objects of none of the classes
            continue
        if label >= len(classes):
            raise InfoError(
                f"{here}.bbox_label_3d is {label}, but the file's metainfo names {len(classes)} "
                "classes. Write metainfo.categories, a dict of names and numbers, into the file."
            )
        boxes.append(box)
        names.append(classes[label])
    return _record(
        where,
        scene=PurePosixPath(path).stem,
        points_path=path,
        num_features=int(_need(lidar, "num_pts_feats", f"{where}.lidar_points")),
        instance_mask_path=info.get("pts_instance_mask_path"),
        semantic_mask_path=info.get("pts_semantic_mask_path"),
        axis_align_matrix=_matrix(info.get("axis_align_matrix"), where),
        boxes=to_boxes(boxes, where),
        names=names,
        **({"scene_type": info["scene_type"]} if "scene_type" in info else {}),
    )


def _record(where: str, **record: Any) -> dict[str, Any]:
    if len(record["boxes"]) != len(record["names"]):
        raise InfoError(
            f"{where}: {len(record['boxes'])} boxes with {len(record['names'])} class names. "
            "Expected one for each; write the info file again."
        )
    return record


def write_infos(
    path: Path, records: Iterable[Mapping[str, Any]], classes: Sequence[str], dataset: str
) -> None:
    """Write an info file of version 2.

    Args:
        path: File to write; it appears complete or not at all.
        records: The scenes.
        classes: Names of the classes.
        dataset: What ``metainfo.dataset`` says, such as ``'scannet'``.

    Raises:
        InfoError: An object is of none of the classes.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    data_list = []
    for record in records:
        unknown = sorted(set(record["names"]) - set(numbers))
        if unknown:
            raise InfoError(f"{record['scene']} has objects of {unknown}, none of {list(classes)}")
        info = dict(
            lidar_points=dict(
                num_pts_feats=record["num_features"], lidar_path=record["points_path"]
            ),
            instances=[
                dict(bbox_3d=box.tolist(), bbox_label_3d=numbers[name])
                for box, name in zip(record["boxes"], record["names"], strict=True)
            ],
        )
        for key in ("instance_mask_path", "semantic_mask_path"):
            if record[key] is not None:
                info[f"pts_{key}"] = record[key]
        if "scene_type" in record:
            info["scene_type"] = record["scene_type"]
        if record["axis_align_matrix"] is not None:
            info["axis_align_matrix"] = np.asarray(record["axis_align_matrix"]).tolist()
        data_list.append(info)
    metainfo = dict(categories=numbers, dataset=dataset, info_version="1.1")
    write_file(path, pickle.dumps(dict(metainfo=metainfo, data_list=data_list)))
