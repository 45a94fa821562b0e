"""Images of a target with pseudo labels in the place of labels."""

import os
from pathlib import Path
from typing import Any

from mmengine.dataset import BaseDataset, Compose
from mmseg.datasets import BaseSegDataset

from mmext.registry import DATASETS

from .label_tables import identity

LABEL_SOURCE = "label_source"
"""Key of a sample's metainfo that says where its labels are from."""


def unlabelled(config: dict, where: str) -> BaseSegDataset:
    """Build a data set that does not know its label files.

    Args:
        config: Config of one of mmseg's or mmext's data sets; its pipeline is not built.
        where: The config's place, for messages.

    Returns:
        The data set. Nothing that it hands out names a label file.

    Raises:
        TypeError: The config builds something else.
    """
    kind = config["type"]
    with DATASETS.switch_scope_and_registry(None) as registry:
        found = registry.get(kind) if isinstance(kind, str) else kind
    if not (isinstance(found, type) and issubclass(found, BaseSegDataset)):
        raise TypeError(
            f"{where}.type is {kind!r}. Expected a data set of images and label files "
            "(mmext.FolderSegDataset or another subclass of mmseg's BaseSegDataset), whose label "
            "files can be left out of sight."
        )
    dataset = DATASETS.build({**config, "pipeline": [], "lazy_init": True})
    dataset.data_prefix.pop("seg_map_path", None)
    dataset.full_init()
    return dataset


def image_info(dataset: BaseDataset, index: int) -> dict:
    """Return what a data set knows of an image, without where its labels are."""
    info = dataset.get_data_info(index)
    for key in ("seg_map_path", "label_table"):
        info.pop(key, None)
    return info


def png_name(image: str, folder: str) -> str:
    """Return the name of what is written for an image, such as its pseudo labels, as a png file.

    Args:
        image: Path of the image.
        folder: ``data_prefix['img_path']`` of its data set; folders below it are kept.
    """
    relative = os.path.relpath(image, folder)
    return str(Path(relative).with_suffix(".png"))


@DATASETS.register_module()
class PseudoLabelDataset(BaseDataset):
    """Images of any segmentation data set, with the labels that a model has written for them.

    The data set's own labels are out of its sight: their folder is taken out of its
    ``data_prefix`` before it is read.

    Args:
        dataset: Config of the data set; its pipeline is used, with ``mmext.LoadLabelIds``.
        label_dir: Folder of the pseudo labels, as ``tools/generate_pseudo_labels.py`` writes it.
    """

    def __init__(self, *, dataset: dict, label_dir: str) -> None:
        self.images = unlabelled(dataset, "PseudoLabelDataset.dataset")
        self.label_dir = label_dir
        self.label_table = identity(len(self.images.metainfo["classes"]), "pseudo labels")
        super().__init__(
            metainfo=self.images.metainfo, pipeline=dataset.get("pipeline", []), data_prefix={}
        )

    def load_data_list(self) -> list[dict]:
        """Return a dict per image, with the path of its pseudo label as ``seg_map_path``.

        Raises:
            FileNotFoundError: Pseudo labels are missing.
        """
        entries, missing = [], []
        for index in range(len(self.images)):
            info = image_info(self.images, index)
            name = png_name(info["img_path"], self.images.data_prefix["img_path"])
            path = os.path.join(self.label_dir, name)
            if not os.path.isfile(path):
                missing.append(path)
            entries.append({**info, "seg_map_path": path})
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(entries)} images have no pseudo label, such as "
                f"{missing[0]}. Write them with tools/generate_pseudo_labels.py (it continues "
                "where it was stopped), or correct label_dir."
            )
        return entries

    def get_data_info(self, idx: int) -> dict:
        """Return an entry of the list, with the table of its label file."""
        return super().get_data_info(idx) | dict(label_table=self.label_table)

    def __getitem__(self, idx: int) -> Any:
        """Return an image with its pseudo label, marked as such."""
        item = super().__getitem__(idx)
        item["data_samples"].set_metainfo({LABEL_SOURCE: "pseudo"})
        return item


def loads_labels(pipeline: Compose) -> str | None:
    """Return the name of the first transform of a pipeline that loads labels, if there is one."""
    names = (type(transform).__name__ for transform in pipeline.transforms)
    return next((name for name in names if name.startswith(("LoadAnnotations", "LoadLabel"))), None)
