"""Labels that people make: what is written for them, and how it comes back."""

import csv
import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmext.files import write_file

from .data import PoolSource
from .pool import Pool

# Label Studio puts eight digits and a dash before the names of files that were uploaded.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")


def write_request(folder: Path, source: PoolSource, images: Sequence[str]) -> None:
    """Write which images are to be labelled.

    Args:
        folder: Gets ``coco.json`` (images and categories without annotations, as CVAT imports
            them), ``label_studio.json`` (tasks that name local files) and ``images.csv``.
        source: The images.
        images: Ids.
    """
    infos = {image: source.info(image, labeled=False) for image in images}
    paths = {image: os.path.abspath(info["img_path"]) for image, info in infos.items()}
    coco = dict(
        images=[
            dict(id=n, file_name=image, width=info.get("width"), height=info.get("height"))
            for n, (image, info) in enumerate(infos.items(), 1)
        ],
        annotations=[],
        categories=[dict(id=n, name=c) for n, c in enumerate(source.metainfo["classes"], 1)],
    )
    tasks = [
        dict(data=dict(image=f"/data/local-files/?d={path.lstrip('/')}", pool_id=image))
        for image, path in paths.items()
    ]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerows([["id", "path"], *paths.items()])
    write_file(folder / "coco.json", json.dumps(coco, indent=1))
    write_file(folder / "label_studio.json", json.dumps(tasks, indent=1))
    write_file(folder / "images.csv", table.getvalue())


def merge_labels(ann_file: Path, returned_file: Path, pool: Pool) -> list[str]:
    """Put labels that came back into the annotation file of the pool.

    Args:
        ann_file: COCO json of the whole pool; rewritten.
        returned_file: COCO json with every image that was to be labelled; images that it lists
            without annotations hold no objects.
        pool: Says which labels are missing.

    Returns:
        Ids of the images whose labels came.

    Raises:
        ValueError: An image is missing or has another size, a category is unknown, a box is none.
    """
    content, returned = _read(ann_file), _read(returned_file)
    missing = pool.missing_labels()
    found = _match(missing, returned["images"], returned_file)
    target = {image["file_name"]: image for image in content["images"]}
    ours = _by_pool_id(target, missing, ann_file)
    for image, theirs in found.items():
        sizes = [(entry["width"], entry["height"]) for entry in (ours[image], theirs)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"{returned_file}: {theirs['file_name']} has the size {sizes[1]} there and "
                f"{sizes[0]} in {ann_file}. Export the labels for the images as they were given."
            )
    categories = _match_categories(content, returned, returned_file)
    numbers = {theirs["id"]: ours[image]["id"] for image, theirs in found.items()}
    replaced = set(numbers.values())
    kept = [a for a in content["annotations"] if a["image_id"] not in replaced]
    first = max((annotation["id"] for annotation in content["annotations"]), default=0) + 1
    new = [a for a in returned["annotations"] if a["image_id"] in numbers]
    for number, annotation in enumerate(new, first):
        kept.append(_annotation(annotation, number, numbers, categories, returned_file))
    write_file(ann_file, json.dumps({**content, "annotations": kept}))
    return sorted(found)


def _read(path: Path) -> dict:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} cannot be read as COCO json: {error}") from error
    for name in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise ValueError(f"{path}: the list {name!r} is missing. Expected a COCO json file.")
    return content


def _match(missing: Sequence[str], images: Sequence[Mapping], path: Path) -> dict[str, Mapping]:
    """Find the images that were to be labelled, by path or else by name."""
    by_path = {image["file_name"].lstrip("/"): image for image in images}
    names: dict[str, list[Mapping]] = {}
    for image in images:
        name = Path(image["file_name"]).name
        for key in {name, _UPLOAD_PREFIX.sub("", name)}:
            names.setdefault(key, []).append(image)
    found, lost = {}, []
    for image in missing:
        named = names.get(Path(image).name, [])
        if image in by_path:
            found[image] = by_path[image]
        elif len(named) == 1 and sum(Path(m).name == Path(image).name for m in missing) == 1:
            found[image] = named[0]
        else:
            lost.append(image)
    if lost:
        raise ValueError(
            f"{path} does not have {len(lost)} of {len(missing)} images that are to be labelled, "
            f"the first is {lost[0]}. Expected all of them, those without objects too, as "
            "file_name with the path that was given or with a name that only one image has."
        )
    return found


def _by_pool_id(target: Mapping[str, dict], images: Sequence[str], path: Path) -> dict[str, dict]:
    """Find the entries of images whose id may begin with folders of ``data_prefix``."""
    found = {}
    for image in images:
        parts = image.split("/")
        tails = ("/".join(parts[begin:]) for begin in range(len(parts)))
        entry = next((target[tail] for tail in tails if tail in target), None)
        if entry is None:
            raise ValueError(f"{path} has no image {image}: expected the file of the whole pool.")
        found[image] = entry
    return found


def _match_categories(content: Mapping, returned: Mapping, path: Path) -> dict[Any, Any]:
    """Return our category id for each of theirs, by name."""
    ours = {category["name"]: category["id"] for category in content["categories"]}
    used = {annotation["category_id"] for annotation in returned["annotations"]}
    theirs = {c["id"]: c["name"] for c in returned["categories"] if c["id"] in used}
    unknown = sorted(name for name in theirs.values() if name not in ours)
    if unknown or used - set(theirs):
        raise ValueError(
            f"{path}: categories {unknown or sorted(used - set(theirs))} are unknown. Expected "
            f"names among {sorted(ours)}."
        )
    return {number: ours[name] for number, name in theirs.items()}


def _annotation(
    annotation: Mapping, number: int, images: Mapping, categories: Mapping, path: Path
) -> dict:
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not (box[2] > 0 and box[3] > 0):
        raise ValueError(
            f"{path}: annotation {annotation.get('id')} has the bbox {box!r}. Expected [x, y, "
            "width, height] in pixels, width and height above 0."
        )
    return dict(
        id=number,
        image_id=images[annotation["image_id"]],
        category_id=categories[annotation["category_id"]],
        bbox=box,
        area=annotation.get("area") or box[2] * box[3],
        iscrowd=annotation.get("iscrowd", 0),
    )
