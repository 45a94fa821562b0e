"""What can be wrong with a DOTA-format data set, found before training starts."""

import os
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from mmext.engine.preflight import ConfigError, walk
from mmext.registry import DATASET_CHECKS

from .evaluation.dota_files import read_labels


@DATASET_CHECKS.register_module(name="DOTADataset")
def check_dota_dataset(*, cfg: Config, dataset_cfg: dict, dataset_class: type, path: str) -> None:
    """Check label files, images and class count of one ``DOTADataset`` config.

    Args:
        cfg: The whole config; its heads' ``num_classes`` are compared with the classes.
        dataset_cfg: The config of the data set.
        dataset_class: The class that it builds.
        path: The config key of ``dataset_cfg``, for messages.

    Raises:
        ConfigError: Names the file or config key, what was expected and how to mend it.
    """
    root = dataset_cfg.get("data_root")
    prefix = dataset_cfg.get("data_prefix", {}).get("img_path", "")
    suffix = dataset_cfg.get("img_suffix", "png")
    images = _image_names(_join(root, prefix), suffix, f"{path}.data_prefix.img_path")
    classes = {**dataset_class.METAINFO, **dataset_cfg.get("metainfo", {})}.get("classes", ())
    if isinstance(classes, str):
        raise ConfigError(
            f"{path}.metainfo.classes is the string {classes!r}. Expected a tuple of names; one "
            f"class is written with a comma: classes=({classes!r},)."
        )
    _check_class_count(len(classes), cfg, path)
    if dataset_cfg.get("ann_file"):  # without it, all images of the folder, without objects
        folder = Path(_join(root, dataset_cfg["ann_file"]))
        labelled = _check_label_files(folder, classes, f"{path}.ann_file")
        _check_pairs(labelled, images, folder, suffix, path)


def _join(root: str | None, name: str) -> str:
    return os.path.join(root, name) if root and not os.path.isabs(name) else name


def _image_names(folder: str, suffix: str, key: str) -> dict[str, int]:
    """Return the names without suffix of a folder's images, and their sizes in bytes."""
    if not os.path.isdir(folder):
        raise ConfigError(
            f"{key}: image folder {folder!r} does not exist. Prepare the data set first (README: "
            "data) or correct data_root / data_prefix."
        )
    with os.scandir(folder) as entries:
        sizes = {
            entry.name.removesuffix(f".{suffix}"): entry.stat().st_size
            for entry in entries
            if entry.name.endswith(f".{suffix}")
        }
    if not sizes:
        others = sorted({Path(name).suffix for name in os.listdir(folder)})
        raise ConfigError(
            f"{key}: {folder!r} holds no *.{suffix} file, but {', '.join(others) or 'nothing'}. "
            "Set img_suffix to the images' suffix or correct data_root / data_prefix."
        )
    return sizes


def _check_label_files(folder: Path, classes: tuple[str, ...], key: str) -> list[str]:
    """Read every label file; return their names without suffix."""
    if not folder.is_dir():
        raise ConfigError(
            f"{key}: label folder {str(folder)!r} does not exist. Expected a folder with a txt "
            "file per image (DOTA); prepare the data set first (README: data) or correct data_root "
            "/ ann_file."
        )
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise ConfigError(
            f"{key}: {str(folder)!r} holds no txt file. Expected one per image (DOTA); correct "
            "data_root / ann_file, or leave ann_file empty for images without labels."
        )
    for file in files:
        _check_label_file(file, classes, key)
    return [file.stem for file in files]


def _check_label_file(file: Path, classes: tuple[str, ...], key: str) -> None:
    try:
        corners, names, _ = read_labels(file)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}. Correct or remove the line.") from error
    # read_labels also takes headers and lines without difficulty; the data set does not.
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    for number, line in enumerate(lines, 1):
        if len(line.split()) != 10:
            raise ConfigError(
                f"{key}: {file}:{number} is {line!r}. The data set expects exactly 'x1 y1 x2 y2 x3 "
                "y3 x4 y4 class difficulty' on every line, without headers and empty lines; cut "
                "original DOTA files into patches first, which also rewrites the labels."
            )
    for number, (name, box) in enumerate(zip(names, corners, strict=True), 1):
        if name not in classes:
            raise ConfigError(
                f"{key}: {file}:{number} names the class {name!r}, which is none of "
                f"{', '.join(classes)}. Correct the file or set metainfo=dict(classes=(...))."
            )
        if (box == box[0]).all():
            raise ConfigError(
                f"{key}: {file}:{number} is a box without extent ({lines[number - 1]!r}): its four "
                "corners are one point. Correct or remove the line."
            )


def _check_pairs(
    labelled: list[str], images: dict[str, int], folder: Path, suffix: str, path: str
) -> None:
    missing = [name for name in labelled if name not in images]
    if missing:
        raise ConfigError(
            f"{path}.data_prefix.img_path: {len(missing)} of {len(labelled)} label files have no "
            f"image, the first is {folder / missing[0]}.txt. Expected {missing[0]}.{suffix}; "
            "correct data_prefix / img_suffix or prepare the data set again."
        )
    unlabelled = sorted(images.keys() - set(labelled))
    if unlabelled:  # no fault where splits share a folder of images
        print_log(
            f"{path}.ann_file: {len(unlabelled)} of {len(images)} images have no label file and "
            f"are left out, the first is {unlabelled[0]}.{suffix} (expected "
            f"{folder / unlabelled[0]}.txt; an empty file for an image without objects).",
            logger="current",
            level=30,
        )
    empty = [name for name in labelled if images[name] == 0]
    if empty:
        raise ConfigError(
            f"{path}: {len(empty)} of {len(labelled)} images are empty files, the first is "
            f"{empty[0]}.{suffix}. Copy or download them again."
        )


def _check_class_count(count: int, cfg: Config, path: str) -> None:
    for key, node in walk(cfg.get("model"), "model"):
        part = key.rsplit(".", 1)[-1].split("[")[0]
        if part.startswith("bbox_head") and node.get("num_classes", count) != count:
            raise ConfigError(
                f"{key}.num_classes is {node['num_classes']}, but {path} has {count} classes. Set "
                f"{key}.num_classes={count} or correct {path}.metainfo.classes."
            )
