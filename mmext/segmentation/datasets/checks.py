"""What can be wrong with segmentation data in folders, found before training starts."""

import os
import re
from pathlib import Path

from mmengine.config import Config
from PIL import Image, UnidentifiedImageError

from mmext.engine.preflight import ConfigError, walk
from mmext.registry import DATASET_CHECKS

from .folders import FolderSegDataset
from .loading import decode_label_ids

# Of larger sets, as many are looked into, evenly spread; each label file is looked for.
MAX_OPENED_PAIRS = 1000
MAX_DECODED_LABELS = 30
_EXAMPLES = 3
# Where a config keeps data whose own labels nobody may look at.
_UNLABELLED = re.compile(r"\.targets\.[^.]+(\.dataset)?$")


@DATASET_CHECKS.register_module(name="FolderSegDataset")
def check_segmentation_dataset(
    *, cfg: Config, dataset_cfg: dict, dataset_class: type[FolderSegDataset], path: str
) -> None:
    """Check images, label files, pipeline and class count of a data set.

    Label files of an adaptation's targets are not looked at, not even for their existence.

    Args:
        cfg: The whole config; its heads' ``num_classes`` are compared with the classes.
        dataset_cfg: The config of the data set.
        dataset_class: The class that it builds.
        path: The config key of ``dataset_cfg``, for messages.

    Raises:
        ConfigError: Names the file or config key, what was expected and how to mend it.
    """
    options = {key: value for key, value in dataset_cfg.items() if key not in ("type", "pipeline")}
    try:
        dataset = dataset_class(**options, pipeline=[], lazy_init=True)
        if _UNLABELLED.search(path):
            dataset.data_prefix.pop("seg_map_path", None)
        entries = dataset.load_data_list()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    _check_pipeline(dataset_cfg, path)
    _check_num_classes(cfg, len(dataset.metainfo["classes"]), path)
    if "seg_map_path" in dataset.data_prefix:
        _check_labels_there(entries, path)
        _check_sizes(_spread(entries, MAX_OPENED_PAIRS), path)
        _check_ids(dataset, _spread(entries, MAX_DECODED_LABELS), path)


def _spread(entries: list[dict], most: int) -> list[dict]:
    return entries[:: max(1, -(-len(entries) // most))]


def _check_pipeline(dataset_cfg: dict, path: str) -> None:
    """Refuse the loader that takes ids for classes."""
    for key, node in walk(dataset_cfg.get("pipeline"), f"{path}.pipeline"):
        if str(node.get("type")).rpartition(".")[2] == "LoadAnnotations":
            raise ConfigError(
                f"{key}: LoadAnnotations takes the ids in label files for classes and cuts 16-bit "
                "files to 8 bits. Write type='mmext.LoadLabelIds' instead."
            )


def _check_num_classes(cfg: Config, classes: int, path: str) -> None:
    for key, node in walk(cfg.get("model"), "model"):
        # Heads only: what else has a num_classes, such as an auxiliary task, is not ours to judge.
        if re.search(r"(decode|auxiliary)_head(\[\d+\])?$", key):
            found = node.get("num_classes", classes)
            if found != classes:
                raise ConfigError(
                    f"{key}.num_classes is {found}, but {path} has {classes} classes. Set both to "
                    "the same class set."
                )


def _check_labels_there(entries: list[dict], path: str) -> None:
    """Look for every label file, reading each folder once."""
    listed: dict[str, set[str]] = {}
    missing = []
    for entry in entries:
        folder, name = os.path.split(entry["seg_map_path"])
        if folder not in listed:
            listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
        if name not in listed[folder]:
            missing.append(entry)
    if missing:
        examples = ", ".join(
            f"{entry['seg_map_path']} (of {entry['img_path']})" for entry in missing[:_EXAMPLES]
        )
        raise ConfigError(
            f"{path}: {len(missing)} of {len(entries)} images have no label file: {examples}"
            f"{', ...' if len(missing) > _EXAMPLES else ''}. Correct data_prefix.seg_map_path or "
            "seg_map_suffix, or list the labelled images in ann_file."
        )


def _check_sizes(entries: list[dict], path: str) -> None:
    for entry in entries:
        sizes = [_size(entry[key], path) for key in ("img_path", "seg_map_path")]
        if sizes[0] != sizes[1]:
            raise ConfigError(
                f"{path}: {entry['img_path']} is {sizes[0][0]}x{sizes[0][1]} pixels, "
                f"{entry['seg_map_path']} {sizes[1][0]}x{sizes[1][1]}. Expected equal sizes; "
                "correct or remove the pair."
            )


def _size(name: str, path: str) -> tuple[int, int]:
    """Return width and height of an image from its header."""
    try:
        with Image.open(name) as image:
            return image.size
    except (UnidentifiedImageError, OSError) as error:
        raise ConfigError(
            f"{path}: {name} is no readable image. Copy or download it again, or remove it and "
            "its partner."
        ) from error


def _check_ids(dataset: FolderSegDataset, entries: list[dict], path: str) -> None:
    for entry in entries:
        name = entry["seg_map_path"]
        try:
            dataset.label_table.apply(decode_label_ids(Path(name).read_bytes(), name), name)
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from error
