"""Rendered streets in five domains: a small set for adapting segmentation, laid out as Cityscapes.

One renderer draws road, lane markings, sidewalks, buildings, vegetation, sky, people, cars and
poles in perspective; what differs between domains is how all this looks, and a little how the
camera is held and how crowded the street is. Labels are exact everywhere.

==========  =================================================================  ===================
domain      looks                                                              meant as
==========  =================================================================  ===================
``game``    even bright colours, crisp, no noise: what a simple game shows     source
``arcade``  other even colours in the evening                                  second source
``day``     muted colours, surfaces of brick, gravel and grass photographs,    target
            changing exposure, blur and noise
``fog``     other photographs, fog that swallows what is far, flat light       target
``night``   dark and blueish, lit windows and lamps, own headlights, noise     target
==========  =================================================================  ===================

Each has 300 images for training and 100 for validation, 192 x 96 pixels, png. No two images show
the same street, also not in different domains. Photographs come out of the scikit-image wheel, are
read without importing it (``pip install --no-deps scikit-image==0.26.0``), and no pixel of them
serves both training and validation.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from .folder import write_folder
from .skimage_photos import find_source, read_photos
from .street_layout import CLASSES, lay_out
from .street_looks import LOOKS
from .street_paint import as_texture, paint

SIZE = (96, 192)
"""Height and width of the images."""
COUNTS = {"train": 300, "val": 100}
DOMAINS = tuple(LOOKS)
TRAIN_SHARE = 0.6
"""Share of a photograph's width, from the left, that training images are textured with."""
PHOTOS = {
    "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
    "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
    "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
}
"""The photographs and their SHA-256."""
ATTRIBUTION = f"""\
Rendered streets with photographs as textures, made by mmext.embedded.streets.

Streets and everything in them: drawn by this package.
Photographs, read from the scikit-image 0.26.0 package (BSD-3-Clause, the scikit-image team),
all of them in the public domain or under CC0 1.0:
    brick.png              CC0Textures, Bricks25, CC0
    gravel.png             CC0Textures, Gravel04, CC0
    grass.png              linolafett (DeviantArt, "Grass 01"), CC0
    coffee.png             Rachel Michetti, courtesy of Pikolo Espresso Bar, CC0
    rocket.jpg             SpaceX, public domain
    hubble_deep_field.jpg  NASA, public domain

Changes: made into factors on the brightness of surfaces, in perspective; training images use the
left {TRAIN_SHARE:.0%} of each photograph, the others the rest.
"""


def textures(photos: Mapping[str, np.ndarray], split: str) -> dict[str, np.ndarray]:
    """Return the parts of the photographs that a split may use, as textures."""
    found = {}
    for name, photo in photos.items():
        cut = round(TRAIN_SHARE * photo.shape[1])
        part = photo[:, :cut] if split == "train" else photo[:, cut:]
        found[name] = as_texture(part)
    return found


def render(
    domain: str, split: str, index: int, seed: int, photos: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw an image of the set.

    Args:
        domain: A key of ``LOOKS``.
        split: A key of ``COUNTS``.
        index: Number of the image, from 0.
        seed: Seed of the whole set.
        photos: Of :func:`textures`.

    Returns:
        (96, 192, 3) uint8 BGR and (96, 192) uint8 labels.
    """
    key = (seed, DOMAINS.index(domain), list(COUNTS).index(split), index)
    rng, looks = np.random.default_rng((*key, 1)), LOOKS[domain]
    street = lay_out(key, pitch=rng.uniform(*looks.pitch), crowd=looks.crowd)
    return paint(street, looks, photos, SIZE, rng)


def file_paths(root: Path, domain: str, split: str, index: int) -> tuple[Path, Path]:
    """Return where image and labels lie."""
    name = f"{domain}_{split}_{index:04d}"
    return (
        root / domain / "leftImg8bit" / split / f"{name}_leftImg8bit.png",
        root / domain / "gtFine" / split / f"{name}_gtFine_labelTrainIds.png",
    )


def _write_all(root: Path, seed: int, domains: Sequence[str], counts: Mapping[str, int]) -> None:
    """Write images, labels, attribution and manifest into the existing folder ``root``."""
    photos = read_photos(find_source(), PHOTOS)
    shares = {}
    for split, count in counts.items():
        parts = textures(photos, split)
        for domain in domains:
            pixels = np.zeros(len(CLASSES), np.int64)
            for path in file_paths(root, domain, split, 0):
                path.parent.mkdir(parents=True)
            for index in range(count):
                written = render(domain, split, index, seed, parts)
                for path, array in zip(
                    file_paths(root, domain, split, index), written, strict=True
                ):
                    cv2.imwrite(str(path), array)
                pixels += np.bincount(written[1].ravel(), minlength=len(CLASSES))
            shares[f"{domain}/{split}"] = (pixels / pixels.sum()).round(4).tolist()
    (root / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (root / "ATTRIBUTION.txt").write_text(ATTRIBUTION)
    content = dict(recipe=_recipe(seed, domains, counts), class_shares=shares)
    (root / "manifest.json").write_text(json.dumps(content, indent=2))


def _recipe(seed: int, domains: Sequence[str], counts: Mapping[str, int]) -> dict:
    """Return what decides the set's content, as json gives it back."""
    recipe = dict(
        version=1,
        seed=seed,
        size=SIZE,
        train_share=TRAIN_SHARE,
        counts=dict(counts),
        looks={domain: asdict(LOOKS[domain]) for domain in domains},
        photos=PHOTOS,
    )
    return json.loads(json.dumps(recipe))


def _is_prepared(root: Path, recipe: dict) -> bool:
    """Tell whether ``root`` holds this recipe's data, complete."""
    manifest = root / "manifest.json"
    if not manifest.is_file() or json.loads(manifest.read_text())["recipe"] != recipe:
        return False
    return all(
        len(list((root / domain / folder / split).glob("*.png"))) == count
        for domain in recipe["looks"]
        for split, count in recipe["counts"].items()
        for folder in ("leftImg8bit", "gtFine")
    )


def prepare(
    root: Path,
    seed: int = 0,
    domains: Sequence[str] = DOMAINS,
    counts: Mapping[str, int] = COUNTS,
) -> Path:
    """Write the streets as Cityscapes lays out its files.

    The folder appears complete or not at all; a second call finds it and returns at once. All
    figures in the docs are of the default arguments. Images of a smaller set are those of the whole
    one.

    Args:
        root: Folder to write: ``<domain>/leftImg8bit/<split>/*_leftImg8bit.png``,
            ``<domain>/gtFine/<split>/*_gtFine_labelTrainIds.png``, ``classes.txt``,
            ``ATTRIBUTION.txt`` and ``manifest.json``.
        seed: Seed of everything random.
        domains: Which domains to write.
        counts: How many images each split of a domain has.

    Returns:
        ``root``.

    Raises:
        FileNotFoundError: The scikit-image package or one of its photographs is missing.
        ValueError: A photograph has another checksum, or there is no such domain.
        FileExistsError: ``root`` holds something that this function did not write.
    """
    unknown = [domain for domain in domains if domain not in LOOKS]
    if unknown:
        raise ValueError(f"domains has {unknown}: expected names among {list(LOOKS)}")
    root = Path(root)
    if not _is_prepared(root, _recipe(seed, domains, counts)):
        write_folder(
            root, lambda building: _write_all(building, seed, domains, counts), "streets data"
        )
    return root


def prior_labels(labels: np.ndarray) -> np.ndarray:
    """Return the most frequent label at each pixel: what is known without looking at an image.

    Args:
        labels: (N, H, W) uint8.

    Returns:
        (H, W) uint8.
    """
    counts = np.stack([(labels == index).sum(axis=0) for index in range(len(CLASSES))])
    return counts.argmax(axis=0).astype(np.uint8)
