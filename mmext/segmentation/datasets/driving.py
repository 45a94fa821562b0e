"""The data sets of street scenes that adaptation papers use, each read as its owners ship it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmengine.logging import print_log
from PIL import Image

from mmext.registry import DATASETS

from .folders import FolderSegDataset


class DrivingDataset(FolderSegDataset):
    """What the data sets of street scenes share: a table for each class set.

    Args:
        class_set: ``'cityscapes_19'``, ``'cityscapes_16'``, ``'cityscapes_13'`` or
            ``'cityscapes_7'``.
        variant: A variant of the table where published maps differ: see
            ``mmext.segmentation.datasets.label_tables.VARIANTS``.
        **kwargs: As for :class:`FolderSegDataset`.
    """

    IDS = ""
    """What the ids in the label files are, the first part of the table's name."""
    DEFAULTS: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self, *, class_set: str = "cityscapes_19", variant: str | None = None, **kwargs: Any
    ) -> None:
        table = f"{self.IDS}/{class_set}" + (f"/{variant}" if variant else "")
        super().__init__(
            **{**self.DEFAULTS, "class_set": class_set, "label_table": table, **kwargs}
        )


@DATASETS.register_module()
class GTA5Dataset(DrivingDataset):
    """GTA5 (Richter et al., "Playing for Data", ECCV 2016): 24,966 frames of a game.

    ``images/00001.png``, ``labels/00001.png``, palette images whose indices are Cityscapes' ids.
    Label files known to be of another size than their image are left out.

    Args:
        **kwargs: As for :class:`DrivingDataset`.
    """

    IDS = "gta5"
    DEFAULTS: ClassVar = dict(img_suffix=".png")
    SUSPECTS = ("15188", "17705")

    def load_data_list(self) -> list[dict]:
        """Return the images and labels, but for pairs that are known not to fit."""
        kept = []
        for entry in super().load_data_list():
            if not self._is_unfit(entry):
                kept.append(entry)
                continue
            message = f"{entry['seg_map_path']} is of another size than its image: left out"
            print_log(message, logger="current")
        return kept

    def _is_unfit(self, entry: dict) -> bool:
        if Path(entry["img_path"]).stem not in self.SUSPECTS or "seg_map_path" not in entry:
            return False
        with Image.open(entry["img_path"]) as image, Image.open(entry["seg_map_path"]) as labels:
            return image.size != labels.size


@DATASETS.register_module()
class SynthiaDataset(DrivingDataset):
    """SYNTHIA-RAND-CITYSCAPES (Ros et al., CVPR 2016): 9,400 rendered frames.

    ``RGB/0000000.png``, ``GT/LABELS/0000000.png``, 16 bits, the class in the first channel. It has
    no terrain, truck and train: trained with 19 classes, these are never seen.

    Args:
        **kwargs: As for :class:`DrivingDataset`.
    """

    IDS = "synthia"
    DEFAULTS: ClassVar = dict(
        img_suffix=".png", data_prefix=dict(img_path="RGB", seg_map_path="GT/LABELS")
    )


@DATASETS.register_module()
class CityscapesDataset(DrivingDataset):
    """Cityscapes (Cordts et al., CVPR 2016), read from its own ``*_labelIds.png``.

    mmseg's class of that name needs files converted to train ids, and knows 19 classes only.

    Args:
        **kwargs: As for :class:`DrivingDataset`.
    """

    IDS = "cityscapes"
    DEFAULTS: ClassVar = dict(
        img_suffix="_leftImg8bit.png",
        seg_map_suffix="_gtFine_labelIds.png",
        data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
    )


@DATASETS.register_module()
class IDDDataset(DrivingDataset):
    """India Driving Dataset (Varma et al., WACV 2019): Indian roads.

    ``leftImg8bit/train/*/*_leftImg8bit.png`` (or ``.jpg``), and the ``*_gtFine_labelids.png`` that
    IDD's own tool writes with ``--id-type id``.

    Args:
        **kwargs: As for :class:`DrivingDataset`.
    """

    IDS = "idd"
    DEFAULTS: ClassVar = dict(
        img_suffix=("_leftImg8bit.png", "_leftImg8bit.jpg"),
        seg_map_suffix="_gtFine_labelids.png",
        data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
    )


@DATASETS.register_module()
class MapillaryDataset(DrivingDataset):
    """Mapillary Vistas v1.2 (Neuhold et al., ICCV 2017): streets all over the world.

    ``training/images/*.jpg``, ``training/labels/*.png`` with 66 ids.

    Args:
        **kwargs: As for :class:`DrivingDataset`.
    """

    IDS = "mapillary"
    DEFAULTS: ClassVar = dict(
        img_suffix=".jpg",
        data_prefix=dict(img_path="training/images", seg_map_path="training/labels"),
    )


@DATASETS.register_module()
class SynscapesDataset(DrivingDataset):
    """Synscapes (Wrenninge and Unger, 2018): 25,000 rendered frames, without an official split.

    ``img/rgb/1.png``, ``img/class/1.png`` with Cityscapes' ids.

    Args:
        **kwargs: As for :class:`DrivingDataset`.
    """

    IDS = "synscapes"
    DEFAULTS: ClassVar = dict(
        img_suffix=".png", data_prefix=dict(img_path="img/rgb", seg_map_path="img/class")
    )


@DATASETS.register_module()
class CamVidDataset(FolderSegDataset):
    """CamVid's frames of four drives in Cambridge, with 11 classes or IDD-Lite's 7.

    ``images/train/*.jpg`` and ``labels/train/*.png`` with the ids 0 to 10 of the SegNet tutorial's
    copy, 255 for void. Names of frames begin with their drive: 0001TP (dusk), 0006R0, 0016E5 and
    Seq05VD (day).

    Args:
        class_set: ``'camvid_11'`` or ``'idd_lite_7'``.
        drives: Names of the drives to take. None: all.
        **kwargs: As for :class:`FolderSegDataset`.
    """

    def __init__(
        self,
        *,
        class_set: str = "camvid_11",
        drives: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        table = "camvid/idd_lite_7" if class_set == "idd_lite_7" else "classes/camvid_11"
        self.drives = drives
        defaults = dict(img_suffix=".jpg", class_set=class_set, label_table=table)
        super().__init__(**{**defaults, **kwargs})

    def load_data_list(self) -> list[dict]:
        """Return a dict per frame, see :meth:`FolderSegDataset.load_data_list`.

        Raises:
            ValueError: There is no frame of one of ``drives``.
        """
        entries = super().load_data_list()
        if self.drives is None:
            return entries
        frames: dict[str, list[dict]] = {}
        for entry in entries:
            frames.setdefault(Path(entry["img_path"]).name.partition("_")[0], []).append(entry)
        absent = [drive for drive in self.drives if drive not in frames]
        if absent:
            raise ValueError(
                f"{self.data_prefix['img_path']} has no frames of the drives {absent}, only of "
                f"{sorted(frames)}. Correct drives, or data_prefix.img_path."
            )
        return [entry for drive in self.drives for entry in frames[drive]]


@DATASETS.register_module()
class IDDLiteDataset(FolderSegDataset):
    """IDD-Lite: small frames of Indian roads with 7 classes.

    ``images/train/*.jpg`` and ``labels/train/*.png`` with the ids 0 to 6, 255 for void.

    Args:
        **kwargs: As for :class:`FolderSegDataset`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"img_suffix": ".jpg", "class_set": "idd_lite_7", **kwargs})


@DATASETS.register_module()
class StreetsDataset(FolderSegDataset):
    """The rendered streets of :mod:`mmext.embedded.streets`, 9 classes.

    Args:
        domain: Such as ``'game'``; with ``split`` it makes up ``data_prefix``.
        split: ``'train'`` or ``'val'``.
        **kwargs: As for :class:`FolderSegDataset`.
    """

    def __init__(self, *, domain: str, split: str = "train", **kwargs: Any) -> None:
        defaults = dict(
            img_suffix="_leftImg8bit.png",
            seg_map_suffix="_gtFine_labelTrainIds.png",
            class_set="streets_9",
            data_prefix=dict(
                img_path=f"{domain}/leftImg8bit/{split}", seg_map_path=f"{domain}/gtFine/{split}"
            ),
        )
        super().__init__(**{**defaults, **kwargs})
