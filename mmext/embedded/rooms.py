"""Rendered scans of furnished rooms: a small set for indoor 3-D detection.

Rooms of four types, with what belongs there: beds and night stands in bedrooms, desks in offices,
tables with chairs around in kitchens, sofas in lounges. Some classes share their looks and differ
by where they stand: single beds and daybeds (a ``sofa``), tables and desks, night stands and office
drawers, dressers and cabinets. Depth cameras in the room scan it, so that objects hide each other
and show the cameras one side; floor and walls are thinned out.

=========  ======  ========  =================================================================
split      scenes  style     what is different
=========  ======  ========  =================================================================
``train``  300     home
``val``    60      home
``other``  60      studio    lower and wider furniture, tables on panels, chairs on one column,
                             beds without headboard; one or two cameras, lower, with more noise
=========  ======  ========  =================================================================

Each split comes in two forms, which share the points. *Oriented*: boxes turn with the furniture, in
the frame of the points, which is turned at random, as in SUN RGB-D. *Aligned*: the boxes are the
hulls along the walls, and ``axis_align_matrix`` moves the points into their frame, as in ScanNet.
Objects with fewer than ``MIN_POINTS`` points in the scan have no box.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmext.detection3d.info_files import write_infos
from mmext.detection3d.structures import Boxes3D

from .folder import write_folder
from .room_furniture import CLASSES, Make, Range
from .room_layout import TYPES, Room, lay_out
from .room_scan import Sensor, scan

MIN_POINTS = 15
NOTHING = 255
"""What the semantic mask says of points of no object."""
FORMS = ("oriented", "aligned")


@dataclass(frozen=True)
class Style:
    """How the rooms of a style are furnished and scanned.

    Attributes:
        make: Furniture.
        side: Least and largest length of a wall in metres.
        litter: Most objects without label.
        sensor: The scan.
    """

    make: Make
    side: Range
    litter: int
    sensor: Sensor


STYLES = {
    "home": Style(
        make=Make(
            stretch=(1.0, 1.0, 1.0), leg=(0.04, 0.07), panels=0.1, pedestal=0.25, headboard=0.8
        ),
        side=(4.0, 8.0),
        litter=3,
        sensor=Sensor(
            cameras=(2, 4),
            height=(1.4, 1.9),
            pixels=(96, 72),
            view=(75, 95),
            noise=0.002,
            missing=0.05,
            blots=2,
            cell=0.03,
            points=5000,
            share=0.6,
        ),
    ),
    "studio": Style(
        make=Make(
            stretch=(0.95, 1.12, 0.88), leg=(0.06, 0.1), panels=0.7, pedestal=0.8, headboard=0.2
        ),
        side=(4.0, 6.0),
        litter=5,
        sensor=Sensor(
            cameras=(1, 2),
            height=(1.1, 1.5),
            pixels=(120, 90),
            view=(80, 100),
            noise=0.004,
            missing=0.15,
            blots=5,
            cell=0.03,
            points=5000,
            share=0.6,
        ),
    ),
}
SPLITS = {"train": ("home", 300), "val": ("home", 60), "other": ("studio", 60)}
"""Style and number of scenes."""


@dataclass(frozen=True)
class Scan:
    """A scene as it is written.

    Attributes:
        type: Type of the room.
        points: (N, 3) float32, in a frame of its own.
        instance: (N,) number of each point's object, from 1; 0 for none.
        matrix: (4, 4), from the frame of the points to that of the room.
        oriented: (G, 7) boxes in the frame of the points.
        aligned: (G, 7) hulls in the frame of the room.
        labels: (G,) classes.
    """

    type: str
    points: np.ndarray
    instance: np.ndarray
    matrix: np.ndarray
    oriented: np.ndarray
    aligned: np.ndarray
    labels: np.ndarray


def _objects(room: Room, owner: np.ndarray) -> tuple[list[int], Boxes3D]:
    """Return which items of a room get a box, and the boxes in the frame of the room."""
    counts = np.bincount(owner[owner >= 0], minlength=len(room.items))
    kept = [
        index
        for index, item in enumerate(room.items)
        if item.furniture.name in CLASSES and counts[index] >= MIN_POINTS
    ]
    boxes = [
        [item.x, item.y, item.furniture.size[2] / 2, *item.furniture.size, item.yaw]
        for item in (room.items[index] for index in kept)
    ]
    return kept, Boxes3D(torch.tensor(boxes, dtype=torch.float64).reshape(-1, 7))


def make_scan(split: str, index: int, seed: int) -> Scan:
    """Make a scene of the set.

    Args:
        split: A key of ``SPLITS``.
        index: Number of the scene, from 0; types take turns.
        seed: Seed of the whole set.
    """
    style = STYLES[SPLITS[split][0]]
    rng = np.random.default_rng((seed, list(SPLITS).index(split), index))
    kind = TYPES[index % len(TYPES)]
    room = lay_out(kind, style.make, style.side, style.litter, rng)
    points, owner = scan(room, style.sensor, rng)
    kept, boxes = _objects(room, owner)
    numbers = np.zeros(len(room.items) + 1, np.uint8)  # the last one serves owner -1
    numbers[kept] = np.arange(1, len(kept) + 1)
    angle, offset = rng.uniform(-math.pi, math.pi), rng.uniform(-1, 1, 3) * (1, 1, 0.1)
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn.T, -turn.T @ offset
    return Scan(
        type=kind,
        points=(points @ turn.T + offset).astype(np.float32),
        instance=numbers[owner],
        matrix=matrix,
        oriented=boxes.rotate(angle).translate(offset).tensor.numpy(),
        aligned=boxes.hulls.tensor.numpy(),
        labels=np.array([CLASSES.index(room.items[i].furniture.name) for i in kept], np.int64),
    )


def _record(name: str, found: Scan, form: str) -> dict[str, Any]:
    return dict(
        scene=name,
        points_path=f"{name}.npy",
        num_features=3,
        instance_mask_path=f"{name}.npy",
        semantic_mask_path=f"{name}.npy",
        axis_align_matrix=found.matrix if form == "aligned" else np.eye(4),
        boxes=getattr(found, form),
        names=[CLASSES[label] for label in found.labels],
        scene_type=found.type,
    )


def _write_all(
    root: Path, seed: int, counts: Mapping[str, int], report: Callable[[int, int], None]
) -> None:
    """Write scans, info files and manifest into the existing folder ``root``."""
    for folder in ("points", "instance_mask", "semantic_mask"):
        (root / folder).mkdir()
    objects, done = {}, 0
    for split, count in counts.items():
        scans = {}
        for index in range(count):
            name, found = f"{split}_{index:04d}", make_scan(split, index, seed)
            semantic = np.append(found.labels, NOTHING).astype(np.uint8)[
                found.instance.astype(int) - 1
            ]
            np.save(root / "points" / f"{name}.npy", found.points)
            np.save(root / "instance_mask" / f"{name}.npy", found.instance)
            np.save(root / "semantic_mask" / f"{name}.npy", semantic)
            scans[name] = found
            done += 1
            report(done, sum(counts.values()))
        for form in FORMS:
            records = (_record(name, found, form) for name, found in scans.items())
            write_infos(root / f"rooms_{form}_{split}.pkl", records, CLASSES, "rooms")
        names = Counter(CLASSES[label] for found in scans.values() for label in found.labels)
        objects[split] = {name: names[name] for name in CLASSES}
    content = dict(recipe=_recipe(seed, counts), objects=objects)
    (root / "manifest.json").write_text(json.dumps(content, indent=2))


def _recipe(seed: int, counts: Mapping[str, int]) -> dict:
    """Return what decides the set's content, as json gives it back."""
    recipe = dict(
        version=1,
        seed=seed,
        min_points=MIN_POINTS,
        counts=dict(counts),
        styles={name: asdict(style) for name, style in STYLES.items()},
    )
    return json.loads(json.dumps(recipe))


def _files(root: Path, counts: Mapping[str, int]) -> Iterator[Path]:
    """Yield every file that the set has."""
    for split, count in counts.items():
        yield from (root / f"rooms_{form}_{split}.pkl" for form in FORMS)
        for folder in ("points", "instance_mask", "semantic_mask"):
            yield from (root / folder / f"{split}_{index:04d}.npy" for index in range(count))


def _is_prepared(root: Path, seed: int, counts: Mapping[str, int]) -> bool:
    """Tell whether ``root`` holds this recipe's data, complete."""
    manifest = root / "manifest.json"
    if not manifest.is_file():
        return False
    recipe = json.loads(manifest.read_text())["recipe"]
    return recipe == _recipe(seed, counts) and all(path.is_file() for path in _files(root, counts))


def prepare(
    root: Path,
    seed: int = 0,
    counts: Mapping[str, int] | None = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the rooms data, about 30 MB.

    The folder appears complete or not at all; a second call finds it and returns at once. All
    figures in the docs are of the default arguments. Scenes of a smaller set are those of the whole
    one.

    Args:
        root: Folder to write: ``points``, ``instance_mask``, ``semantic_mask`` with an ``.npy`` per
            scene, ``rooms_<form>_<split>.pkl`` (info files) and ``manifest.json``.
        seed: Seed of everything random.
        counts: How many scenes each split has.
        report: Called with the number of scenes that are done and of all scenes.

    Returns:
        ``root``.

    Raises:
        FileExistsError: ``root`` holds something that this function did not write.
    """
    root = Path(root)
    counts = {name: count for name, (_, count) in SPLITS.items()} if counts is None else counts
    if not _is_prepared(root, seed, counts):
        write_folder(
            root, lambda building: _write_all(building, seed, counts, report), "rooms data"
        )
    return root
