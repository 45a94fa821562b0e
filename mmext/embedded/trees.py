"""Tree crowns in aerial photographs: four annotated scenes out of the deepforest wheel.

The ``deepforest`` distribution (MIT) carries airborne images of the National Ecological
Observatory Network with hand-drawn boxes around every standing tree. Its files are read from the
installed package, which is never imported (its own dependencies are heavy and not needed):
``pip install --no-deps deepforest==2.1.0``.

Splits (one class, ``tree``; dead standing trees count, as in the source's annotation rules):

=============  =========================================  =====================================
split          scene                                      cut
=============  =========================================  =====================================
``train``      Yellowstone meadow, 2299 x 2472, 574 boxes 256-px tiles, one every 128 px
``train_wide`` the same scene                             448-px windows, one every 128 px, for
                                                          pipelines that scale and crop
``validation`` Yellowstone road and forest, 279 boxes     256-px tiles side by side: 16, 232 boxes
``cross``      Florida (OSBS) and California (SOAP)       two whole 400-px images, 98 boxes
=============  =========================================  =====================================

So ``validation`` asks for another place of the same flight, ``cross`` for other ecosystems.
``test.json`` lists the images of both.
"""

import hashlib
import importlib.util
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from .folder import write_folder

INSTALL = "pip install --no-deps deepforest==2.1.0"
MIN_SHARE = 0.5
"""A box cut by a tile's border stays while at least this share of its area is inside."""

ATTRIBUTION = f"""\
Tree crowns in aerial photographs, cut from the files of the deepforest 2.1.0 package.

Imagery: NEON (National Ecological Observatory Network), airborne observation platform, RGB
camera (data product DP3.30010.001, sites YELL, OSBS, SOAP). NEON releases its data under
CC0 1.0 (https://www.neonscience.org/usage-policies) and asks to be cited:
    NEON (National Ecological Observatory Network). High-resolution orthorectified camera imagery
    mosaic (DP3.30010.001). https://data.neonscience.org
NEON does not endorse this use.

Boxes and packaging: deepforest, MIT licence, Copyright (c) 2019 Ben Weinstein
(https://github.com/weecology/DeepForest). Cite:
    Weinstein, Marconi, Bohlman, Zare, White: Individual Tree-Crown Detection in RGB Imagery Using
    Semi-Supervised Deep Learning Neural Networks. Remote Sensing 11(11), 1309, 2019.

Changes: scenes cut into tiles; boxes cut at tile borders and dropped below {MIN_SHARE:.0%} of
their area; the labels Tree, Alive and Dead all become "tree"; VOC xml became COCO json.
"""


@dataclass(frozen=True)
class Scene:
    """An annotated image of the package: its file name without suffix, and checksums (SHA-256)."""

    stem: str
    png_sha256: str
    xml_sha256: str


@dataclass(frozen=True)
class Split:
    """Which scenes a split takes and how they are cut (``tile`` None: whole images), in pixels."""

    scenes: tuple[Scene, ...]
    tile: int | None
    stride: int | None


MEADOW = Scene(
    "2019_YELL_2_528000_4978000_image_crop2",
    "a9bdb0f4447fdd899d22f567e0e20ba8320c5413b2ad0cd0ac8d9f3b6e0f9767",
    "bd431af6a5086d721eb731b22f5ea28cd8a8eab06883efc1c665391acbc68e11",
)
ROAD = Scene(
    "2019_YELL_2_541000_4977000_image_crop",
    "178e58a23cc2642226a364a30f71bd9258ddc1b012c826f12250914a90c7a131",
    "cefe4b96888bacbf8af1674f000082e549aa707aa6590d545effb23e43f26631",
)
OSBS = Scene(
    "OSBS_029",
    "d9477c6a00e4902c7bee487d4c5582c3b8b9a2f77f3908a29628b816b291e6ee",
    "1f68c4011d7b351c29ca755072e77f3d16e6fd1f995bd05a9dd4eb952b55373c",
)
SOAP = Scene(
    "SOAP_061",
    "256508f1a62149bec4a80879077a865caf50e8cace095e6564c76befa480d424",
    "4833280af75fd9c47965a93e38945282835e9e725cac412bdb9469d63480947c",
)
SPLITS = {
    "train": Split((MEADOW,), tile=256, stride=128),
    "train_wide": Split((MEADOW,), tile=448, stride=128),
    "validation": Split((ROAD,), tile=256, stride=256),
    "cross": Split((OSBS, SOAP), tile=None, stride=None),
}
_RECIPE = {
    "version": 2,
    "min_share": MIN_SHARE,
    "splits": {name: asdict(split) for name, split in SPLITS.items()},
}


def find_source() -> Path:
    """Return the installed deepforest package's data folder, without importing the package.

    Raises:
        FileNotFoundError: The package is not installed.
    """
    spec = importlib.util.find_spec("deepforest")
    folder = Path(spec.origin).parent / "data" if spec is not None and spec.origin else None
    if folder is None or not folder.is_dir():
        raise FileNotFoundError(
            f"the tree scenes come out of the deepforest package, which is not installed: {INSTALL}"
        )
    return folder


def read_scene(source: Path, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Read a scene and its boxes after checking both files against the known checksums.

    Args:
        source: Folder of the package's data files.
        scene: The scene to read.

    Returns:
        The (H, W, 3) uint8 BGR image and its (N, 4) float64 boxes x1, y1, x2, y2 in pixels. The
        file's corners are 1-based and inclusive (VOC); these are 0-based, the second exclusive.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file differs from the one that the figures in the docs were measured with.
    """
    paths = {source / f"{scene.stem}.png": scene.png_sha256}
    paths[source / f"{scene.stem}.xml"] = scene.xml_sha256
    for path, expected in paths.items():
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing from the deepforest package: {INSTALL}")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(
                f"{path} is not the file of deepforest 2.1.0: its SHA-256 is {found}, expected "
                f"{expected}. Reinstall it: {INSTALL} --force-reinstall"
            )
    png, xml = paths
    corners = [
        [float(box.findtext(key)) for key in ("xmin", "ymin", "xmax", "ymax")]
        for box in ElementTree.parse(xml).getroot().iter("bndbox")
    ]
    return cv2.imread(str(png)), np.array(corners) - [1, 1, 0, 0]


def cut_boxes(boxes: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    """Cut boxes to a window and drop those with less than ``MIN_SHARE`` of their area inside.

    Args:
        boxes: (N, 4) boxes x1, y1, x2, y2 in pixels of the scene, each of positive area.
        window: x1, y1, x2, y2 of the window.

    Returns:
        (M, 4) boxes in pixels of the window, M <= N.
    """
    low, high = np.array(window[:2]), np.array(window[2:])
    cut = np.hstack([np.maximum(boxes[:, :2], low), np.minimum(boxes[:, 2:], high)])
    inside = (cut[:, 2:] - cut[:, :2]).clip(min=0).prod(axis=1)
    share = inside / (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return cut[share >= MIN_SHARE] - np.hstack([low, low])


def windows(width: int, height: int, split: Split) -> Iterator[tuple[int, int, int, int]]:
    """Yield a split's windows x1, y1, x2, y2 over a scene, row by row; a rest is left out."""
    if split.tile is None:
        yield 0, 0, width, height
        return
    for top in range(0, height - split.tile + 1, split.stride):
        for left in range(0, width - split.tile + 1, split.stride):
            yield left, top, left + split.tile, top + split.tile


def _cut_split(source: Path, root: Path, name: str, first_id: int) -> dict[str, list[dict]]:
    """Write a split's tiles below ``root``.

    Args:
        source: Folder of the package's data files.
        root: Folder of the data set.
        name: A key of ``SPLITS``, and the name of the split's folder.
        first_id: Smallest id of images and annotations; ids are unique over all splits.

    Returns:
        COCO ``images`` and ``annotations``.
    """
    (root / name).mkdir()
    split = SPLITS[name]
    coco: dict[str, list[dict]] = dict(images=[], annotations=[])
    for scene in split.scenes:
        picture, boxes = read_scene(source, scene)
        height, width = picture.shape[:2]
        cuts = list(windows(width, height, split))
        print(f"{name}: {len(cuts)} x {split.tile or width} px from {scene.stem}", flush=True)
        for window in cuts:
            x1, y1, x2, y2 = window
            image = dict(
                id=first_id + len(coco["images"]),
                file_name=f"{name}/{scene.stem}_{x1}_{y1}.png",
                width=x2 - x1,
                height=y2 - y1,
            )
            coco["images"].append(image)
            cv2.imwrite(str(root / image["file_name"]), picture[y1:y2, x1:x2])
            for left, top, right, bottom in cut_boxes(boxes, window).tolist():
                annotation = dict(
                    id=first_id + len(coco["annotations"]),
                    image_id=image["id"],
                    category_id=1,
                    bbox=[left, top, right - left, bottom - top],
                    area=(right - left) * (bottom - top),
                    iscrowd=0,
                )
                coco["annotations"].append(annotation)
    return coco


def _write_all(root: Path) -> None:
    """Write tiles, annotations, attribution and manifest into the existing folder ``root``."""
    source = find_source()
    parts = {
        name: _cut_split(source, root, name, first_id=1 + 10_000 * i)
        for i, name in enumerate(SPLITS)
    }
    joined = {name: (name,) for name in SPLITS} | {"test": ("validation", "cross")}
    (root / "annotations").mkdir()
    counts = {}
    for name, members in joined.items():
        coco = dict(
            info=dict(description=f"mmext trees, {name}; see ATTRIBUTION.txt"),
            images=[image for member in members for image in parts[member]["images"]],
            annotations=[box for member in members for box in parts[member]["annotations"]],
            categories=[dict(id=1, name="tree")],
        )
        (root / "annotations" / f"{name}.json").write_text(json.dumps(coco))
        counts[name] = dict(images=len(coco["images"]), boxes=len(coco["annotations"]))
    (root / "ATTRIBUTION.txt").write_text(ATTRIBUTION)
    (root / "manifest.json").write_text(json.dumps(dict(recipe=_RECIPE, counts=counts), indent=2))


def _is_prepared(root: Path) -> bool:
    """Tell whether ``root`` holds this recipe's data, complete."""
    manifest = root / "manifest.json"
    if not manifest.is_file():
        return False
    content = json.loads(manifest.read_text())
    return content["recipe"] == json.loads(json.dumps(_RECIPE)) and all(
        (root / "annotations" / f"{name}.json").is_file()
        and (name not in SPLITS or len(list((root / name).glob("*.png"))) == counts["images"])
        for name, counts in content["counts"].items()
    )


def prepare(root: Path) -> Path:
    """Write the tree data as COCO json and png tiles, about 180 MB, in about 6 seconds.

    The folder appears complete or not at all; a second call finds it and returns at once.

    Args:
        root: Folder to write: ``annotations/<split>.json``, ``<split>/*.png``,
            ``ATTRIBUTION.txt`` and ``manifest.json``.

    Returns:
        ``root``.

    Raises:
        FileNotFoundError: The deepforest package or one of its files is missing.
        ValueError: A source file has another checksum.
        FileExistsError: ``root`` holds something that this function did not write.
    """
    root = Path(root)
    if _is_prepared(root):
        return root
    write_folder(root, _write_all, "tree data")
    return root
