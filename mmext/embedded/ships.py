"""Rendered vessels at every angle over real photographs: a small rotated detection set, DOTA txt.

Four classes, from nearly square to 9 : 1, drawn from above with shadows, wakes and deck fittings,
afloat on rendered water, moored in dense parallel rows, or ashore on photographs out of the
scikit-image wheel. Clouds, crane beams and the image border hide parts; foam, jetties, buoys and
rocks look a little like vessels and are none. The photographs are read from the installed package,
which is never imported: ``pip install --no-deps scikit-image==0.26.0``.

=========  ======  ==========================================  ==================================
split      images  size                                        land comes from
=========  ======  ==========================================  ==================================
``train``  240     256 px                                      left three fifths of the photographs
``val``    60      256 px                                      the rest of each
``test``   60      256 px                                      the rest of each
``large``  4       1024 px, for splitting and patch merging    the rest of each
=========  ======  ==========================================  ==================================

=========  ===============  ==============
class      length, px       length : width
=========  ===============  ==============
``raft``   15-34            1.0-1.3
``tug``    26-52            1.9-3.2
``ferry``  44-88            3.2-6.0
``barge``  64-116           7.0-9.0
=========  ===============  ==============

A line of an annotation file is ``x1 y1 x2 y2 x3 y3 x4 y4 class difficulty``: the corners of the
whole vessel in pixels (they may lie outside the image), difficulty 1 where less than
``EASY_SHARE`` of it can be seen. Vessels with less than ``MIN_SHARE`` in sight have no line.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from .folder import write_folder
from .ship_layout import KINDS, Scene, lay_out
from .ship_paint import paint
from .skimage_photos import find_source, read_photos

CLASSES = tuple(kind.name for kind in KINDS)
EASY_SHARE = 0.7
MIN_SHARE = 0.25
TRAIN_SHARE = 0.6
"""Share of a photograph's width, from the left, that training images are cut out of."""
JPEG_QUALITY = 92

ATTRIBUTION = f"""\
Rendered vessels over photographs, made by mmext.embedded.ships.

Vessels, water and everything else but the photographs: drawn by this package.
Photographs, read from the scikit-image 0.26.0 package (BSD-3-Clause, the scikit-image team),
all of them in the public domain or under CC0 1.0:
    grass.png              linolafett (DeviantArt, "Grass 01"), CC0
    gravel.png             CC0Textures, Gravel04, CC0
    brick.png              CC0Textures, Bricks25, CC0
    coffee.png             Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0
    rocket.jpg             SpaceX, public domain
    hubble_deep_field.jpg  NASA, public domain

Changes: cut, turned, scaled, tinted; training images use the left {TRAIN_SHARE:.0%} of each
photograph, all others the rest.
"""


@dataclass(frozen=True)
class Split:
    """How many images a split has, and their side in pixels."""

    images: int
    size: int


SPLITS = {
    "train": Split(240, 256),
    "val": Split(60, 256),
    "test": Split(60, 256),
    "large": Split(4, 1024),
}
PHOTOS = {
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
}
"""The photographs and their SHA-256."""


def photo_parts(photos: list[np.ndarray], split: str) -> list[np.ndarray]:
    """Return the parts of the photographs that a split may use: no pixel serves two purposes."""
    train = split == "train"
    cuts = [round(TRAIN_SHARE * photo.shape[1]) for photo in photos]
    pairs = zip(photos, cuts, strict=True)
    return [photo[:, :cut] if train else photo[:, cut:] for photo, cut in pairs]


def scene_of(split: str, index: int, seed: int) -> Scene:
    """Return what is in image ``index`` of a split.

    Args:
        split: A key of ``SPLITS``.
        index: Number of the image, from 0.
        seed: Seed of the whole set.
    """
    return lay_out((seed, list(SPLITS).index(split), index), SPLITS[split].size)


def annotation_lines(scene: Scene, visible: list[float]) -> list[str]:
    """Return a scene's lines of DOTA txt.

    Args:
        scene: The scene.
        visible: The share of each vessel's area that can be seen.
    """
    lines = []
    for vessel, share in zip(scene.vessels, visible, strict=True):
        if share >= MIN_SHARE:
            corners = " ".join(f"{value:.2f}" for value in vessel.rect.corners().ravel())
            lines.append(f"{corners} {vessel.kind} {int(share < EASY_SHARE)}")
    return lines


def _write_all(root: Path, seed: int) -> None:
    """Write images, annotations, attribution and manifest into the existing folder ``root``."""
    photos = list(read_photos(find_source(), PHOTOS).values())
    counts = {}
    for name, split in SPLITS.items():
        (root / name / "images").mkdir(parents=True)
        (root / name / "annfiles").mkdir()
        parts, lines = photo_parts(photos, name), []
        for index in range(split.images):
            scene = scene_of(name, index, seed)
            image, visible = paint(scene, parts)
            found = annotation_lines(scene, visible)
            stem = f"{name}_{index:04d}"
            quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            cv2.imwrite(str(root / name / "images" / f"{stem}.jpg"), image, quality)
            text = "".join(f"{line}\n" for line in found)
            (root / name / "annfiles" / f"{stem}.txt").write_text(text)
            lines += found
        difficult = sum(line.endswith(" 1") for line in lines)
        counts[name] = dict(images=split.images, objects=len(lines), difficult=difficult)
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (root / "ATTRIBUTION.txt").write_text(ATTRIBUTION)
    content = dict(recipe=_recipe(seed), counts=counts)
    (root / "manifest.json").write_text(json.dumps(content, indent=2))


def _recipe(seed: int) -> dict:
    """Return what decides the set's content, as json gives it back."""
    recipe = dict(
        version=1,
        seed=seed,
        shares=[EASY_SHARE, MIN_SHARE, TRAIN_SHARE],
        splits={name: asdict(split) for name, split in SPLITS.items()},
        kinds=[asdict(kind) for kind in KINDS],
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
        len(list((root / name / folder).glob(pattern))) == counts["images"]
        for name, counts in content["counts"].items()
        for folder, pattern in (("images", "*.jpg"), ("annfiles", "*.txt"))
    )


def prepare(root: Path, seed: int = 0) -> Path:
    """Write the ships data in DOTA's layout, about 15 MB, in about 20 seconds.

    The folder appears complete or not at all; a second call finds it and returns at once.

    Args:
        root: Folder to write: ``<split>/images/*.jpg``, ``<split>/annfiles/*.txt``,
            ``classes.txt``, ``ATTRIBUTION.txt`` and ``manifest.json``.
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
        write_folder(root, lambda building: _write_all(building, seed), "ships data")
    return root


def chance_corners(corners: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Move true boxes to random places: what someone finds who knows all but the places.

    Scored with random scores this is the chance score: what a trained model has to beat.

    Args:
        corners: (N, 4, 2) corners of true boxes in pixels.
        size: Side of their image in pixels.
        rng: Source of the places.

    Returns:
        (N, 4, 2) corners; the centres are uniform over the image.
    """
    centres = corners.mean(axis=1, keepdims=True)
    return corners - centres + rng.uniform(0, size, (len(corners), 1, 2))
