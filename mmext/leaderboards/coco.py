"""COCO: submissions of boxes to the server for test-dev, its figures computed here, per class too.

The server takes a zip with one json, both named ``detections_<set>_<name>_results``, of at most 100
detections per image: ``image_id``, ``category_id``, ``bbox`` as x, y, w, h in pixels and ``score``.
Source: https://cocodataset.org/#format-results and https://cocodataset.org/#upload.
"""

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmext.engine import import_host
from mmext.files import replacing
from mmext.rotated.evaluation.samples import prediction_of

from .predictions import read_samples

MAX_PER_IMAGE = 100
_FIELDS = ("images", "categories")
# Rows that are joined to one string at a time when the json is written.
_ROWS_AT_ONCE = 10_000


class CocoDetections(NamedTuple):
    """Detections of a test.

    Attributes:
        images (tuple[int, ...]): Ids of all images that were tested, also of those without any.
        image (ndarray): (N,) id of the image of each detection.
        boxes (ndarray): (N, 4) x1, y1, x2, y2 in pixels.
        scores (ndarray): (N,).
        labels (ndarray): (N,) index of the class.
    """

    images: tuple[int, ...]
    image: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def take(self, index: np.ndarray) -> "CocoDetections":
        """Choose some of the detections; ``images`` stay."""
        return CocoDetections(self.images, *(part[index] for part in self[1:]))


class CocoFile(NamedTuple):
    """The head of a COCO json.

    Attributes:
        images (frozenset[int]): Ids of its images.
        categories (dict[str, int]): Id of each category, by name.
    """

    images: frozenset[int]
    categories: dict[str, int]


def class_names() -> tuple[str, ...]:
    """Return the 80 class names in mmdet's order, which is that of COCO's category ids."""
    import_host("mmdet")
    from mmdet.datasets import CocoDataset

    return CocoDataset.METAINFO["classes"]


def join_detections(
    images: Sequence[int],
    boxes: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
) -> CocoDetections:
    """Put the detections of images together, the best 100 of each.

    Args:
        images: Id of each image.
        boxes: (K, 4) x1, y1, x2, y2 of each image, in its own pixels.
        scores: (K,) of each image.
        labels: (K,) of each image, index of the class.

    Raises:
        ValueError: An image is there twice, or a box or score is not finite.
    """
    if len(set(images)) < len(images):
        twice = next(image for image in images if list(images).count(image) > 1)
        raise ValueError(f"image {twice} was tested more than once: expected each image once")
    found = CocoDetections(
        tuple(images),
        np.repeat(np.array(images, dtype=np.int64), [len(part) for part in scores]),
        np.concatenate([*boxes, np.zeros((0, 4), dtype=np.float32)]),
        np.concatenate([*scores, np.zeros(0, dtype=np.float32)]),
        np.concatenate([*labels, np.zeros(0, dtype=np.int64)]).astype(np.int64),
    )
    wrong = ~(np.isfinite(found.boxes).all(1) & np.isfinite(found.scores))
    if wrong.any():
        raise ValueError(
            f"image {found.image[wrong][0]}: {int(wrong.sum())} boxes or scores are not finite"
        )
    order = np.lexsort((-found.scores, found.image))
    found = found.take(order)
    _, start, count = np.unique(found.image, return_index=True, return_counts=True)
    rank = np.arange(len(found.image)) - np.repeat(start, count)
    return found.take(rank < MAX_PER_IMAGE)


def load_predictions(source: Path) -> CocoDetections:
    """Read the predictions that ``tools/test.py --out`` wrote, the best 100 of each image.

    Args:
        source: The ``.pkl``. A pickle can run code: load only your own.

    Raises:
        FileNotFoundError: ``source`` does not exist.
        ValueError: ``source`` holds something else.
    """
    samples = read_samples(source, lambda sample: (_image_id(sample), prediction_of(sample)))
    parts = [[sample[key] for _, sample in samples] for key in ("boxes", "scores", "labels")]
    return join_detections([image for image, _ in samples], *parts)


def read_coco(path: Path) -> CocoFile:
    """Read images and categories of a COCO json.

    Args:
        path: Such as ``image_info_test-dev2017.json`` or ``instances_val2017.json``.

    Raises:
        FileNotFoundError: ``path`` does not exist.
        ValueError: It is no json, or lacks a field.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{str(path)!r} does not exist: expected COCO's annotations, for test-dev "
            "image_info_test-dev2017.json (of image_info_test2017.zip)"
        )
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid json ({error})") from error
    missing = [field for field in _FIELDS if field not in content]
    if missing:
        raise ValueError(f"{path} has no {missing[0]!r}: expected a COCO json with {_FIELDS}")
    return CocoFile(
        frozenset(image["id"] for image in content["images"]),
        {category["name"]: category["id"] for category in content["categories"]},
    )


def category_ids(
    detections: CocoDetections, coco: CocoFile, classes: Sequence[str], path: Path
) -> list[int]:
    """Check that detections belong to a COCO file, and return the category id of each class.

    Args:
        detections: Of all its images.
        coco: :func:`read_coco` of ``path``.
        classes: Names of the classes, in the order of the labels.
        path: For messages.

    Raises:
        ValueError: A class is no category, a label is no class, or images differ.
    """
    unknown = [name for name in classes if name not in coco.categories]
    if unknown:
        raise ValueError(
            f"class {unknown[0]!r} is no category of {path}, which has "
            f"{', '.join(coco.categories)}: name the model's classes, in its order"
        )
    if len(detections.labels) and detections.labels.max() >= len(classes):
        raise ValueError(
            f"label {detections.labels.max()}, but there are {len(classes)} classes: "
            "name the model's classes, in its order"
        )
    for images, problem in (
        (set(detections.images) - coco.images, "was tested, but is not in"),
        (coco.images - set(detections.images), "was not tested, but is in"),
    ):
        if images:
            raise ValueError(
                f"image {min(images)} (and {len(images) - 1} others) {problem} {path}: expected "
                "the predictions of exactly its images"
            )
    return [coco.categories[name] for name in classes]


def write_submission(
    detections: CocoDetections,
    folder: Path,
    info: Path,
    *,
    name: str,
    classes: Sequence[str] | None = None,
    image_set: str = "test-dev2017",
) -> Path:
    """Write the zip for COCO's server.

    Scores are written with all digits, so that detections keep their order, coordinates to 1e-3 px.
    The zip appears complete or not at all, and the same detections give the same bytes.

    Args:
        detections: Of all images of the set.
        folder: Folder of the zip; made if need be.
        info: ``image_info_test-dev2017.json``, which has the images and the category ids.
        name: Of the method; letters, digits, ``-`` and ``.``.
        classes: Names of the classes in the order of the labels; COCO's by default.
        image_set: As the server calls it.

    Returns:
        ``<folder>/detections_<image_set>_<name>_results.zip``.

    Raises:
        ValueError: A name that the server cannot take, or see :func:`category_ids`.
    """
    if not re.fullmatch(r"[A-Za-z0-9.-]+", name):
        raise ValueError(
            f"name {name!r}: the server splits file names at '_'. Expected letters, digits, '-' "
            "and '.'"
        )
    ids = category_ids(detections, read_coco(info), classes or class_names(), info)
    stem = f"detections_{image_set}_{name}_results"
    path = Path(folder) / f"{stem}.zip"
    with replacing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        # A fixed date: the same detections give the same file.
        entry = zipfile.ZipInfo(f"{stem}.json", (1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(entry, "w", force_zip64=True) as file:
            for chunk in _json_chunks(detections, ids):
                file.write(chunk.encode())
    return path


def records(detections: CocoDetections, ids: Sequence[int]) -> list[dict[str, Any]]:
    """Return detections as COCO's result format has them.

    Args:
        detections: N detections.
        ids: Category id of each class.

    Returns:
        N dicts: ``image_id``, ``category_id``, ``bbox`` (x, y, w, h), ``score``.
    """
    boxes = detections.boxes.astype(np.float64)
    boxes = np.concatenate((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), 1).round(3)
    columns = (
        detections.image.tolist(),
        np.array(ids, dtype=np.int64)[detections.labels].tolist(),
        boxes.tolist(),
        # The shortest decimals that give the same number back, in the precision of the model.
        [float(text) for text in detections.scores.astype(str)],
    )
    keys = ("image_id", "category_id", "bbox", "score")
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]


def _json_chunks(detections: CocoDetections, ids: Sequence[int]) -> Iterator[str]:
    """Yield the json of :func:`records` in pieces, one detection a line."""
    yield "["
    for first in range(0, len(detections.image), _ROWS_AT_ONCE):
        part = detections.take(slice(first, first + _ROWS_AT_ONCE))
        rows = (json.dumps(row, separators=(",", ":")) for row in records(part, ids))
        yield (",\n" if first else "\n") + ",\n".join(rows)
    yield "\n]\n"


def _image_id(sample: dict[str, Any]) -> int:
    """Return the COCO image id of a data sample."""
    image = sample.get("img_id")
    if not isinstance(image, Integral):
        raise ValueError(
            f"img_id is {image!r}: expected COCO's number, so 'img_id' in the meta_keys of "
            "PackDetInputs and a data set that reads a COCO json"
        )
    return int(image)
