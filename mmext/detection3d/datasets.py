"""Data sets of indoor scenes with boxes: ScanNet V2, SUN RGB-D, your own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.dataset import BaseDataset

from mmext.registry import DATASETS

from .info_files import InfoError, read_infos
from .votenet_files import list_scenes, scannet_record, sunrgbd_record

PREFIXES = ("pts", "pts_instance_mask", "pts_semantic_mask")
PATHS = ("points_path", "instance_mask_path", "semantic_mask_path")


@DATASETS.register_module()
class IndoorDet3DDataset(BaseDataset):
    """Scenes of an info file of mmdet3d's, version 1 or 2; the base of the other data sets.

    An item of the data list has ``scene``, ``points_path``, ``num_features``,
    ``instance_mask_path`` and ``semantic_mask_path`` (None where there is none),
    ``axis_align_matrix`` (or None), ``boxes`` (G, 7) float32, ``labels`` (G,) int64 and
    ``semantic_ids``, the numbers of the classes in semantic masks.

    Args:
        ann_file: The info file (``.pkl``).
        data_root: Folder that the other paths are relative to.
        data_prefix: Folders ``pts``, ``pts_instance_mask`` and ``pts_semantic_mask`` of the files
            that an info file of version 2 names; one of version 1 has paths from ``data_root``.
        metainfo: ``classes``: the names to find, which may be some of the file's; objects of others
            are left out. ``seg_valid_class_ids``: their numbers in semantic masks; without, masks
            count the classes from 0. Default: what the info file says.
        filter_cfg: ``filter_empty_gt=True`` leaves scenes without objects out of training,
            ``drop_flat_boxes=True`` boxes without volume, which are an error otherwise.
        **kwargs: As for :class:`mmengine.dataset.BaseDataset`.

    Raises:
        FileNotFoundError: The info file does not exist.
        InfoError: It cannot be used; the message says why.
    """

    def __init__(
        self,
        *,
        ann_file: str,
        data_root: str = "",
        data_prefix: Mapping[str, str] = dict(
            pts="points", pts_instance_mask="instance_mask", pts_semantic_mask="semantic_mask"
        ),
        **kwargs: Any,
    ) -> None:
        unknown = sorted(set(data_prefix) - set(PREFIXES))
        if unknown:
            raise ValueError(
                f"{type(self).__name__}.data_prefix has {unknown}. Expected some of {PREFIXES}."
            )
        prefixes = dict.fromkeys(PREFIXES, "") | dict(data_prefix)
        super().__init__(ann_file=ann_file, data_root=data_root, data_prefix=prefixes, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Return the scenes."""
        records, names = self._read()
        classes = list(self._metainfo.setdefault("classes", tuple(names)))
        if not classes:
            raise InfoError(
                f"{self.ann_file} does not name its classes. Give the data set "
                "metainfo=dict(classes=(...)), or write metainfo.categories into the file."
            )
        ids = self._semantic_ids(classes)
        drop = bool((self.filter_cfg or {}).get("drop_flat_boxes"))
        return [_entry(record, classes, ids, drop) for record in records]

    def filter_data(self) -> list[dict[str, Any]]:
        """Leave scenes without objects out of training where ``filter_cfg`` says so."""
        if self.test_mode or not (self.filter_cfg or {}).get("filter_empty_gt"):
            return self.data_list
        return [entry for entry in self.data_list if len(entry["boxes"])]

    def _read(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Return the records with whole paths, and the names that the file has for its classes."""
        file = read_infos(self.ann_file, self._metainfo.get("classes", ()))
        for record in file.records:
            for key, prefix in zip(PATHS, PREFIXES, strict=True):
                folder = self.data_root if file.version == 1 else self.data_prefix[prefix]
                if record[key] is not None:
                    record[key] = os.path.join(folder, record[key])
        return file.records, file.classes

    def _semantic_ids(self, classes: Sequence[str]) -> list[int]:
        """Return the number of each class in semantic masks."""
        ids = list(self._metainfo.get("seg_valid_class_ids", range(len(classes))))
        if ids == list(self.METAINFO.get("seg_valid_class_ids", ())):  # not the user's own
            table = dict(zip(self.METAINFO["classes"], ids, strict=True))
            ids = [table[name] for name in classes if name in table]
        if len(ids) != len(classes):
            raise InfoError(
                f"seg_valid_class_ids has {len(ids)} numbers for the classes {list(classes)}. "
                "Expected metainfo=dict(classes=(...), seg_valid_class_ids=(...)) with one for "
                "each."
            )
        return ids


def _entry(
    record: Mapping[str, Any], classes: Sequence[str], ids: Sequence[int], drop_flat: bool
) -> dict[str, Any]:
    """Return a record as an entry of the data list: classes by number, others left out."""
    known = np.array([name in classes for name in record["names"]], bool)
    boxes = record["boxes"][known].astype(np.float32)
    labels = [classes.index(name) for name in record["names"] if name in classes]
    labels = np.array(labels, np.int64)
    sound = np.isfinite(boxes).all(axis=1) & (boxes[:, 3:6] > 0).all(axis=1)
    if not sound.all() and not drop_flat:
        worst = int(np.flatnonzero(~sound)[0])
        raise InfoError(
            f"{record['scene']}: box {worst} ({classes[labels[worst]]}) has the sizes "
            f"{boxes[worst, 3:6].tolist()}. Expected positive numbers of metres; correct it, or "
            "leave such boxes out with filter_cfg=dict(drop_flat_boxes=True)."
        )
    entry = {key: value for key, value in record.items() if key != "names"}
    return entry | dict(boxes=boxes[sound], labels=labels[sound], semantic_ids=np.array(ids))


class _VoteNetDataset(IndoorDet3DDataset):
    """A data set that also comes as VoteNet's preparation writes it."""

    point_suffix = ""

    def __init__(self, *, ann_file: str = "", **kwargs: Any) -> None:
        super().__init__(ann_file=ann_file, **kwargs)

    def _read(self) -> tuple[list[dict[str, Any]], list[str]]:
        if self.ann_file.endswith(".pkl"):
            return super()._read()
        folder = Path(self.data_prefix["pts"])
        records = [
            self._record(folder, scene)
            for scene in list_scenes(str(folder), self.ann_file, self.point_suffix)
        ]
        for record in records:
            for key in PATHS:
                if record[key] is not None:
                    record[key] = str(folder / record[key])
        return records, list(self.METAINFO["classes"])

    def _record(self, folder: Path, scene: str) -> dict[str, Any]:
        raise NotImplementedError


@DATASETS.register_module()
class ScanNetDet3DDataset(_VoteNetDataset):
    """ScanNet V2 with axis-aligned boxes of 18 classes.

    Args:
        ann_file: A ``.pkl`` info file; or, for the files of VoteNet's preparation in
            ``data_prefix['pts']``, a ``.txt`` with the names of the scenes, or nothing for all.
        **kwargs: As for :class:`IndoorDet3DDataset`.
    """

    METAINFO: ClassVar[dict[str, Any]] = dict(
        classes=(
            "cabinet",
            "bed",
            "chair",
            "sofa",
            "table",
            "door",
            "window",
            "bookshelf",
            "picture",
            "counter",
            "desk",
            "curtain",
            "refrigerator",
            "showercurtrain",  # spelt so in all published configs
            "toilet",
            "sink",
            "bathtub",
            "garbagebin",
        ),
        seg_valid_class_ids=(3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39),
    )
    point_suffix = "_vert.npy"

    def _record(self, folder: Path, scene: str) -> dict[str, Any]:
        meta = self.METAINFO
        return scannet_record(folder, scene, meta["classes"], meta["seg_valid_class_ids"])


@DATASETS.register_module()
class SUNRGBDDet3DDataset(_VoteNetDataset):
    """SUN RGB-D with oriented boxes of 10 classes.

    Args:
        ann_file: A ``.pkl`` info file; or, for the files of VoteNet's preparation in
            ``data_prefix['pts']``, a ``.txt`` with the names of the scenes, or nothing for all.
        **kwargs: As for :class:`IndoorDet3DDataset`.

    Info files that mmdet3d before 1.0 wrote turn boxes the other way; the check before training
    (:func:`check_indoor_dataset`) finds them.
    """

    METAINFO: ClassVar[dict[str, Any]] = dict(
        classes=(
            "bed",
            "table",
            "sofa",
            "chair",
            "toilet",
            "desk",
            "dresser",
            "night_stand",
            "bookshelf",
            "bathtub",
        )
    )
    point_suffix = "_pc.npz"

    def _record(self, folder: Path, scene: str) -> dict[str, Any]:
        return sunrgbd_record(folder, scene, self.METAINFO["classes"])
