"""What can be wrong with a COCO-format data set, found before training starts."""

import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
from mmengine.config import Config
from mmengine.logging import print_log

from mmext.engine.preflight import ConfigError, walk
from mmext.registry import DATASET_CHECKS

# Opening every file of a large set to look at its first bytes would take minutes on a network
# disk; there a broken file is reported when it is read.
MAX_OPENED_IMAGES = 5000


@DATASET_CHECKS.register_module(name="CocoDataset")
def check_coco_dataset(*, cfg: Config, dataset_cfg: dict, dataset_class: type, path: str) -> None:
    """Check annotation file, images and class count of one ``CocoDataset`` config.

    Args:
        cfg: The whole config; its heads' ``num_classes`` are compared with the classes.
        dataset_cfg: The config of the data set.
        dataset_class: The class that it builds.
        path: The config key of ``dataset_cfg``, for messages.

    Raises:
        ConfigError: Names the file or config key, what was expected and how to mend it.
    """
    ann_file = _join(dataset_cfg.get("data_root"), dataset_cfg.get("ann_file", ""))
    if "://" in ann_file:  # a remote store: mmengine's file backend reports on it
        return
    content = _read(ann_file, f"{path}.ann_file")
    _check_structure(content, ann_file)
    _check_boxes(content, ann_file)
    classes = {**dataset_class.METAINFO, **dataset_cfg.get("metainfo", {})}.get("classes", ())
    if isinstance(classes, str):
        raise ConfigError(
            f"{path}.metainfo.classes is the string {classes!r}. Expected a tuple of names; one "
            f"class is written with a comma: classes=({classes!r},)."
        )
    _check_classes(content, ann_file, list(classes), cfg, path)
    prefix = dataset_cfg.get("data_prefix", {}).get("img", "")
    _check_images(content, _join(dataset_cfg.get("data_root"), prefix), path)


def _join(root: str | None, name: str) -> str:
    return os.path.join(root, name) if root and not os.path.isabs(name) else name


def _read(ann_file: str, key: str) -> Any:
    if not os.path.isfile(ann_file):
        raise ConfigError(
            f"{key}: annotation file {ann_file!r} does not exist. Expected a COCO json file; "
            "prepare the data set first (README: data) or correct data_root / ann_file."
        )
    try:
        with open(ann_file, encoding="utf-8") as file:
            return json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{key}: {ann_file} is not valid JSON ({error}). Expected a COCO annotation file; "
            "write or download it again."
        ) from error


def _check_structure(content: Any, ann_file: str) -> None:
    if not isinstance(content, dict):
        raise ConfigError(
            f"{ann_file}: expected a JSON object with the lists 'images', 'annotations' and "
            f"'categories' (COCO format), got a {type(content).__name__}."
        )
    fields = {
        "images": ("id", "file_name", "width", "height"),
        "annotations": ("id", "image_id", "category_id", "bbox", "area"),
        "categories": ("id", "name"),
    }
    for name, needed in fields.items():
        if not isinstance(content.get(name), list):
            raise ConfigError(
                f"{ann_file}: the list {name!r} is missing. Expected COCO format with 'images', "
                f"'annotations' and 'categories'; the file has {sorted(content)}."
            )
        for index, entry in enumerate(content[name]):
            missing = [field for field in needed if field not in entry]
            if missing:
                raise ConfigError(
                    f"{ann_file}: {name}[{index}] lacks {', '.join(map(repr, missing))}. Expected "
                    f"the fields {', '.join(map(repr, needed))}; add them to the file."
                )
    images = {image["id"] for image in content["images"]}
    categories = {category["id"] for category in content["categories"]}
    for index, ann in enumerate(content["annotations"]):
        for field, known in (("image_id", images), ("category_id", categories)):
            if ann[field] not in known:
                raise ConfigError(
                    f"{ann_file}: annotations[{index}].{field} is {ann[field]!r}, which no entry "
                    f"of the file has as its id. Remove the annotation or add the entry."
                )


def _check_boxes(content: dict, ann_file: str) -> None:
    """Refuse boxes that are no four finite numbers; count those that mmdet will leave out."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    dropped: Counter[str] = Counter()
    example = {}
    for index, ann in enumerate(content["annotations"]):
        box = ann["bbox"]
        if (
            not isinstance(box, list)
            or len(box) != 4
            or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in box)
        ):
            raise ConfigError(
                f"{ann_file}: annotations[{index}].bbox is {box!r}. Expected four finite numbers "
                "[x, y, width, height] in pixels; correct or remove the annotation."
            )
        x, y, width, height = box
        image_width, image_height = sizes[ann["image_id"]]
        if width < 1 or height < 1:
            reason = "smaller than 1 pixel"
        elif x >= image_width or y >= image_height or x + width <= 0 or y + height <= 0:
            reason = "outside the image"
        else:
            continue
        dropped[reason] += 1
        example.setdefault(reason, f"annotations[{index}].bbox = {box}")
    for reason, count in dropped.items():
        print_log(
            f"{ann_file}: {count} of {len(content['annotations'])} boxes are {reason} and are left "
            f"out (first: {example[reason]}).",
            logger="current",
            level=30,
        )


def _check_classes(
    content: dict, ann_file: str, classes: list[str], cfg: Config, path: str
) -> None:
    names = [category["name"] for category in content["categories"]]
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise ConfigError(
            f"{path}.metainfo.classes names {unknown[:5]}, which {ann_file} does not have; its "
            f"categories are {names[:20]}. Set metainfo=dict(classes=(...)) to names of the file."
        )
    for key, node in walk(cfg.get("model"), "model"):
        part = key.rsplit(".", 1)[-1].split("[")[0]
        is_detection_head = part in ("bbox_head", "mask_head")
        if is_detection_head and node.get("num_classes", len(classes)) != len(classes):
            raise ConfigError(
                f"{key}.num_classes is {node['num_classes']}, but {path} has {len(classes)} "
                f"classes ({', '.join(classes[:5])}{', ...' if len(classes) > 5 else ''}). Set "
                f"{key}.num_classes={len(classes)} or correct {path}.metainfo.classes."
            )


def _check_images(content: dict, folder: str, path: str) -> None:
    listed: dict[Path, dict[str, int]] = {}
    files = [Path(folder) / image["file_name"] for image in content["images"]]
    for file in files:
        if file.parent not in listed:
            listed[file.parent] = (
                {entry.name: entry.stat().st_size for entry in os.scandir(file.parent)}
                if file.parent.is_dir()
                else {}
            )
    missing = [file for file in files if file.name not in listed[file.parent]]
    if missing:
        raise ConfigError(
            f"{path}.data_prefix.img: {len(missing)} of {len(files)} images are missing, the first "
            f"is {missing[0]}. Expected every file_name of the annotation file below {folder!r}; "
            "correct data_root / data_prefix or prepare the data set again."
        )
    empty = [file for file in files if listed[file.parent][file.name] == 0]
    looked_at = files if len(files) <= MAX_OPENED_IMAGES else []
    broken = empty or [file for file in looked_at if not cv2.haveImageReader(str(file))]
    if broken:
        raise ConfigError(
            f"{path}: {len(broken)} of {len(files)} files are no readable images, the first is "
            f"{broken[0]} ({listed[broken[0].parent][broken[0].name]} bytes). Copy or download "
            "them again, or remove them from the annotation file."
        )
