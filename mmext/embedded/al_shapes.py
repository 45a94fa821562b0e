"""Shapes over photographs of which few teach much: a small set to measure active learning with.

Seven of ten images of the pool are easy: a smooth piece of a photograph with one or two shapes that
stand out, nearly always discs and squares, or with none at all. The other three are crowded: more
shapes, all classes alike, little contrast, and broken shapes that are none. Someone who labels at
random labels the same easy discs again and again. The validation images are half and half, from the
other part of each photograph. Photographs are read from the installed scikit-image package:
``pip install --no-deps scikit-image==0.26.0``.

============  ===========================================  ============================
class         what it is                                   share of the shapes of easy
                                                           images
============  ===========================================  ============================
``disc``      a disc                                       55 %
``square``    a square at any angle                        30 %
``triangle``  an equilateral triangle at any angle         9 %
``ring``      a disc with a hole                           4 %
``cross``     two bars that cross                          2 %
============  ===========================================  ============================
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from .folder import write_folder
from .skimage_photos import find_source, read_photos

SIZE = 128
"""Side of the images in pixels."""
CLASSES = ("disc", "square", "triangle", "ring", "cross")
EASY_CLASS_SHARES = (0.55, 0.30, 0.09, 0.04, 0.02)
TRAIN_SHARE = 0.6
"""Share of a photograph's width, from the left, that the pool is cut out of."""
DIAMETERS = (16.0, 44.0)
"""Of the circles around shapes, in pixels."""
GAP = 2.0
"""Least free space between the circles of two shapes, in pixels."""
SAMPLES = 4
"""Samples per pixel and axis that edges are smoothed with."""


@dataclass(frozen=True)
class Split:
    """How many images a split has, and which share of them is easy."""

    images: int
    easy: float


SPLITS = {"train": Split(600, 0.7), "val": Split(150, 0.5)}
PHOTOS = {
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}
"""The photographs and their SHA-256."""
ATTRIBUTION = f"""\
Shapes over photographs, made by mmext.embedded.al_shapes.

Photographs, read from the scikit-image 0.26.0 package (BSD-3-Clause, the scikit-image team),
all of them in the public domain or under CC0 1.0:
    brick.png   CC0Textures, Bricks25, CC0
    gravel.png  CC0Textures, Gravel04, CC0
    grass.png   linolafett (DeviantArt, "Grass 01"), CC0
    coffee.png  Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0
    rocket.jpg  SpaceX, public domain

Changes: cut, tinted, smoothed, drawn over; the pool uses the left {TRAIN_SHARE:.0%} of each
photograph, the validation images the rest.
"""


@dataclass(frozen=True)
class Shape:
    """One shape: centre and diameter of the circle around it in pixels, angle in radians.

    Attributes:
        contrast: How far its brightness is from that of what is behind it, of 255.
        broken: Whether a part is cut off. What is broken has no box.
    """

    kind: str
    x: float
    y: float
    diameter: float
    angle: float
    contrast: float
    broken: bool = False


def lay_out(rng: np.random.Generator, easy: bool) -> list[Shape]:
    """Return the shapes of an image; their circles do not touch.

    Args:
        rng: Source of everything random.
        easy: Whether the image is one of the easy ones.
    """
    wanted = rng.choice(3, p=(0.25, 0.5, 0.25)) if easy else rng.integers(3, 8)
    shares = EASY_CLASS_SHARES if easy else None
    shapes: list[Shape] = []
    for _ in range(wanted):
        kind = str(rng.choice(CLASSES, p=shares))
        diameter = rng.uniform(24 if easy else DIAMETERS[0], DIAMETERS[1] if easy else 36)
        angle, sign = rng.uniform(0, 2 * math.pi), rng.choice((-1, 1))
        contrast = sign * (rng.uniform(90, 130) if easy else rng.uniform(28, 60))
        broken = bool(not easy and rng.random() < 0.25)
        for _ in range(20):  # places to try before the shape is left out
            x, y = rng.uniform(diameter / 2 + 1, SIZE - diameter / 2 - 1, 2)
            if all(
                math.hypot(x - other.x, y - other.y) > (diameter + other.diameter) / 2 + GAP
                for other in shapes
            ):
                shapes.append(Shape(kind, x, y, diameter, angle, contrast, broken))
                break
    return shapes


def _inside(kind: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Tell which points are in a shape that fills the unit circle."""
    if kind == "disc":
        return u**2 + v**2 <= 1
    if kind == "square":
        return np.maximum(abs(u), abs(v)) <= math.sqrt(0.5)
    if kind == "triangle":
        return np.maximum(abs(u) * math.sqrt(3) - v, 2 * v) <= 1
    if kind == "ring":
        return (u**2 + v**2 <= 1) & (u**2 + v**2 >= 0.55**2)
    narrow, wide = np.minimum(abs(u), abs(v)), np.maximum(abs(u), abs(v))
    return (narrow <= 0.28) & (wide <= 0.96)


def coverage(shape: Shape) -> np.ndarray:
    """Return which share of each pixel a shape covers, (SIZE, SIZE) float32."""
    grid = (np.arange(SIZE * SAMPLES, dtype=np.float32) + 0.5) / SAMPLES
    x, y = np.meshgrid(grid - shape.x, grid - shape.y)
    radius, cos, sin = shape.diameter / 2, math.cos(shape.angle), math.sin(shape.angle)
    u, v = (cos * x + sin * y) / radius, (cos * y - sin * x) / radius
    inside = _inside(shape.kind, u, v)
    if shape.broken:
        inside &= u + 0.4 * v < 0.1
    cells = inside.reshape(SIZE, SAMPLES, SIZE, SAMPLES)
    return cells.mean((1, 3), dtype=np.float32)


def box_of(cover: np.ndarray) -> list[float]:
    """Return ``[x, y, width, height]`` in pixels of what covers half of a pixel or more."""
    rows, columns = (np.flatnonzero((cover >= 0.5).any(axis)) for axis in (1, 0))
    left, top = float(columns[0]), float(rows[0])
    return [left, top, float(columns[-1]) + 1 - left, float(rows[-1]) + 1 - top]


def paint(
    rng: np.random.Generator, shapes: list[Shape], parts: list[np.ndarray], easy: bool
) -> tuple[np.ndarray, list[list[float]]]:
    """Draw an image.

    Args:
        rng: Source of everything random.
        shapes: What is in it.
        parts: (H, W, 3) uint8 BGR photographs to cut the background out of.
        easy: Whether the background is smooth.

    Returns:
        The (SIZE, SIZE, 3) uint8 BGR image, and the box of each shape, broken ones included.
    """
    photo = parts[rng.integers(len(parts))]
    top, left = (int(rng.integers(side - SIZE + 1)) for side in photo.shape[:2])
    image = photo[top : top + SIZE, left : left + SIZE].astype(np.float32)
    if easy:
        image = cv2.GaussianBlur(image, (0, 0), 6)
    # In the middle of the range, so that what is darker and what is brighter stays so.
    image = 128 + (image - image.mean((0, 1))) * (0.5 if easy else 0.8) + rng.uniform(-18, 18, 3)
    boxes = []
    for shape in shapes:
        cover = coverage(shape)
        boxes.append(box_of(cover))
        image += cover[..., None] * (shape.contrast * rng.uniform(0.75, 1, 3))
    image += rng.normal(0, 4, image.shape)
    return image.round().clip(0, 255).astype(np.uint8), boxes


def _write_split(root: Path, name: str, photos: list[np.ndarray], seed: int) -> dict[str, int]:
    """Write images and annotations of a split; return how many of each it has."""
    split = SPLITS[name]
    parts = []
    for photo in photos:
        cut = round(TRAIN_SHARE * photo.shape[1])
        parts.append(photo[:, :cut] if name == "train" else photo[:, cut:])
    (root / name).mkdir()
    images, annotations = [], []
    for index in range(split.images):
        rng = np.random.default_rng((seed, list(SPLITS).index(name), index))
        # Spread evenly, so that any beginning of the list has the share as well.
        easy = math.floor((index + 1) * split.easy) > math.floor(index * split.easy)
        shapes = lay_out(rng, easy)
        picture, boxes = paint(rng, shapes, parts, easy)
        file_name = f"{name}/{index:04d}.png"
        cv2.imwrite(str(root / file_name), picture)
        images.append(dict(id=index + 1, file_name=file_name, width=SIZE, height=SIZE))
        for shape, box in zip(shapes, boxes, strict=True):
            if not shape.broken:
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=index + 1,
                        category_id=CLASSES.index(shape.kind) + 1,
                        bbox=box,
                        area=box[2] * box[3],
                        iscrowd=0,
                    )
                )
    coco = dict(
        info=dict(description=f"mmext al-shapes, {name}; see ATTRIBUTION.txt"),
        images=images,
        annotations=annotations,
        categories=[dict(id=i + 1, name=kind) for i, kind in enumerate(CLASSES)],
    )
    (root / "annotations" / f"{name}.json").write_text(json.dumps(coco))
    kinds = [CLASSES[box["category_id"] - 1] for box in annotations]
    return dict(images=len(images), **{kind: kinds.count(kind) for kind in CLASSES})


def _write_all(root: Path, seed: int) -> None:
    """Write images, annotations, attribution and manifest into the existing folder ``root``."""
    photos = list(read_photos(find_source(), PHOTOS).values())
    (root / "annotations").mkdir()
    counts = {name: _write_split(root, name, photos, seed) for name in SPLITS}
    (root / "ATTRIBUTION.txt").write_text(ATTRIBUTION)
    content = dict(recipe=_recipe(seed), counts=counts)
    (root / "manifest.json").write_text(json.dumps(content, indent=2))


def _recipe(seed: int) -> dict:
    """Return what decides the set's content, as json gives it back."""
    recipe = dict(
        version=1,
        seed=seed,
        size=SIZE,
        shares=[*EASY_CLASS_SHARES, TRAIN_SHARE],
        splits={name: asdict(split) for name, split in SPLITS.items()},
        photos=PHOTOS,
    )
    return json.loads(json.dumps(recipe))


def _is_prepared(root: Path, seed: int) -> bool:
    """Tell whether ``root`` holds this recipe's data, complete."""
    manifest = root / "manifest.json"
    if not manifest.is_file():
        return False
    content = json.loads(manifest.read_text())
    return content["recipe"] == _recipe(seed) and all(
        len(list((root / name).glob("*.png"))) == counts["images"]
        for name, counts in content["counts"].items()
    )


def prepare(root: Path, seed: int = 0) -> Path:
    """Write the shapes as COCO json and png, about 25 MB, in about 20 seconds.

    The folder appears complete or not at all; a second call finds it and returns at once.

    Args:
        root: Folder to write: ``annotations/<split>.json``, ``<split>/*.png``,
            ``ATTRIBUTION.txt`` and ``manifest.json``.
        seed: Seed of everything random. All figures in the docs are of seed 0.

    Returns:
        ``root``.

    Raises:
        FileNotFoundError: The scikit-image package or one of its photographs is missing.
        ValueError: A photograph has another checksum.
        FileExistsError: ``root`` holds something that this function did not write.
    """
    root = Path(root)
    if not _is_prepared(root, seed):
        write_folder(root, lambda building: _write_all(building, seed), "shapes")
    return root
