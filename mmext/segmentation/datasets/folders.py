"""Segmentation data in folders: the base of all data sets here, and the one for your own data."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmseg.datasets import BaseSegDataset

from mmext.registry import DATASETS

from .class_sets import meta_of
from .label_tables import LabelTable, identity, label_table


@DATASETS.register_module()
class FolderSegDataset(BaseSegDataset):
    """Images and label files in two folders of the same structure, or images alone.

    .. code-block:: python

        dict(type='mmext.FolderSegDataset', data_root='data/mine',
             data_prefix=dict(img_path='images', seg_map_path='labels'),
             metainfo=dict(classes=('road', 'other')), pipeline=[...])
        # without labels, for the target of an adaptation:
        dict(..., data_prefix=dict(img_path='images'))

    In the pipeline stands ``mmext.LoadLabelIds``, not mmseg's ``LoadAnnotations``.

    Args:
        img_suffix: How names of images end, one or several; the rest of the name is what image and
            label file have in common.
        seg_map_suffix: How names of label files end.
        class_set: Name of a class set (:mod:`mmext.segmentation.datasets.class_sets`), instead of
            ``metainfo``.
        label_table: Name of a table (:mod:`mmext.segmentation.datasets.label_tables`), or
            ``{id in the files: class}``. None: the files hold classes.
        metainfo: ``classes``, and perhaps ``palette``.
        **kwargs: As for mmseg's ``BaseSegDataset``. ``data_prefix`` without ``seg_map_path``:
            there are no labels. ``ann_file``: list of images to take, a name per line without the
            suffix.
    """

    def __init__(
        self,
        *,
        img_suffix: str | Sequence[str] = (".png", ".jpg", ".jpeg"),
        seg_map_suffix: str = ".png",
        class_set: str | None = None,
        label_table: str | Mapping[int, int] | None = None,
        metainfo: Mapping | None = None,
        data_prefix: Mapping[str, str] = dict(img_path="images", seg_map_path="labels"),
        **kwargs: object,
    ) -> None:
        if (class_set is None) == (metainfo is None):
            raise ValueError(
                f"{type(self).__name__} needs either class_set or metainfo=dict(classes=...) to "
                "know its classes."
            )
        self.img_suffixes = (img_suffix,) if isinstance(img_suffix, str) else tuple(img_suffix)
        self.class_set = class_set
        meta = dict(meta_of(class_set) if metainfo is None else metainfo)
        self.label_table = _table(label_table, len(meta.get("classes", ())))
        super().__init__(
            img_suffix=self.img_suffixes[0],
            seg_map_suffix=seg_map_suffix,
            metainfo=meta,
            data_prefix={key: value for key, value in data_prefix.items() if value is not None},
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Return a dict per image: ``img_path``, and ``seg_map_path`` where there are labels.

        Raises:
            FileNotFoundError: A folder, or the list, does not exist.
            ValueError: No image was found.
        """
        folder = self.data_prefix["img_path"]
        if not os.path.isdir(folder):
            raise FileNotFoundError(
                f"{folder} does not exist. Expected the folder of the images of a "
                f"{type(self).__name__}; prepare the data set, or correct data_root and "
                "data_prefix.img_path."
            )
        names = self._listed(folder) if self.ann_file else self._found(folder)
        if not names:
            raise ValueError(
                f"no image found: {self.ann_file or folder} names none that ends with "
                f"{' or '.join(self.img_suffixes)}. Put images there, or correct data_prefix, "
                "img_suffix or ann_file."
            )
        return [self._entry(folder, stem, suffix) for stem, suffix in names]

    def get_data_info(self, idx: int) -> dict:
        """Return an entry of the list, with the table that its label file needs."""
        # Not in the list: that is kept as bytes, where each entry would carry a copy.
        return super().get_data_info(idx) | dict(label_table=self.label_table)

    def _found(self, folder: str) -> list[tuple[str, str]]:
        """Return what stands before the suffix, and the suffix, of each image below a folder."""
        names = []
        for path in Path(folder).rglob("*"):
            name = path.relative_to(folder).as_posix()
            suffix = next((end for end in self.img_suffixes if name.endswith(end)), None)
            if suffix is not None and not path.name.startswith("."):
                names.append((name.removesuffix(suffix), suffix))
        return sorted(names)

    def _listed(self, folder: str) -> list[tuple[str, str]]:
        if not os.path.isfile(self.ann_file):
            raise FileNotFoundError(
                f"{self.ann_file} does not exist. Expected a text file with the name of an image "
                "per line; correct ann_file, or leave it out to take all images."
            )
        lines = Path(self.ann_file).read_text(encoding="utf-8").split("\n")
        stems = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if len(self.img_suffixes) == 1:
            return [(stem, self.img_suffixes[0]) for stem in stems]
        known = dict(self._found(folder))
        missing = [stem for stem in stems if stem not in known]
        if missing:
            raise FileNotFoundError(
                f"{self.ann_file} names {len(missing)} images that are not in {folder}: "
                f"{', '.join(missing[:3])}. Correct the list, or data_prefix.img_path."
            )
        return [(stem, known[stem]) for stem in stems]

    def _entry(self, folder: str, stem: str, suffix: str) -> dict:
        entry = dict(
            img_path=os.path.join(folder, stem + suffix),
            reduce_zero_label=False,
            seg_fields=[],
        )
        if "seg_map_path" in self.data_prefix:
            labels = self.data_prefix["seg_map_path"]
            entry["seg_map_path"] = os.path.join(labels, stem + self.seg_map_suffix)
        return entry


def _table(table: str | Mapping[int, int] | None, num_classes: int) -> LabelTable:
    return identity(num_classes) if table is None else label_table(table, num_classes)
