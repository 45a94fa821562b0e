"""Write the rooms data: rendered scans of furnished rooms with boxes, for indoor 3-D detection.

Usage: ``python tools/dataset_converters/rooms.py [--out data/rooms]``; a second run returns at
once.

Beside the splits that are tested stand mAP@0.25 / mAP@0.5 of four sets of detections that need no
training: boxes of the right number, classes, sizes and angles at random places (chance); the true
boxes with classes told by their sizes alone, by normal distributions fitted to the training rooms
(sizes); the same with the share of the classes in rooms of that type (sizes + type), so that the
difference is what knowing the type of the room is worth at most; and the true boxes after a
detector's suppression of overlaps (oracle).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from mmext.detection3d.average_precision import SceneMatches, average_precision, match_scene
from mmext.detection3d.info_files import read_infos
from mmext.embedded import rooms
from mmext.embedded.room_furniture import CLASSES
from mmext.embedded.room_layout import TYPES
from mmext.ops import nms3d

IOU_THRS = (0.25, 0.5)


class Prior:
    """Tells classes by the sizes of boxes, and by the type of the room.

    Args:
        scenes: Records of the rooms to learn from.
    """

    def __init__(self, scenes: list[dict]) -> None:
        sizes = np.log(np.concatenate([scene["boxes"][:, 3:6] for scene in scenes]))
        labels = np.array([CLASSES.index(name) for scene in scenes for name in scene["names"]])
        kinds = np.repeat(
            [TYPES.index(scene["scene_type"]) for scene in scenes],
            [len(scene["names"]) for scene in scenes],
        )
        groups = [sizes[labels == label] for label in range(len(CLASSES))]
        self.mean = np.stack([group.mean(axis=0) for group in groups])
        self.std = np.stack([group.std(axis=0) + 0.02 for group in groups])
        counts = np.zeros((len(TYPES), len(CLASSES)))
        np.add.at(counts, (kinds, labels), 1)
        self.by_type = (counts + 0.1) / (counts + 0.1).sum(axis=1, keepdims=True)
        self.overall = counts.sum(axis=0) / counts.sum()

    def __call__(self, boxes: np.ndarray, kind: str | None) -> np.ndarray:
        """Return (G, C) probabilities of the classes of boxes, of rooms of any type if None."""
        error = (np.log(boxes[:, None, 3:6]) - self.mean) / self.std
        share = self.overall if kind is None else self.by_type[TYPES.index(kind)]
        value = np.exp(-0.5 * (error**2).sum(axis=2)) / self.std.prod(axis=1) * share + 1e-300
        return value / value.sum(axis=1, keepdims=True)


Detections = tuple[np.ndarray, np.ndarray, np.ndarray]


def chance(scene: dict, labels: np.ndarray, rng: np.random.Generator) -> Detections:
    """Return the true boxes at random places in the room, with random scores."""
    boxes = scene["boxes"].copy()
    if len(boxes):
        low, high = boxes[:, :2].min(axis=0), boxes[:, :2].max(axis=0)
        boxes[:, :2] = rng.uniform(low, high, (len(boxes), 2))
    return boxes, labels, rng.random(len(boxes))


def oracle(scene: dict, labels: np.ndarray) -> Detections:
    """Return the true boxes that a detector's suppression of overlaps would keep."""
    boxes = torch.from_numpy(scene["boxes"]).float()
    scores = torch.linspace(1, 0.5, len(boxes))
    kept = nms3d(boxes, scores, 0.25, labels=torch.from_numpy(labels), rotated=False).numpy()
    return boxes.double().numpy()[kept], labels[kept], scores.numpy()[kept]


def guessed(scene: dict, probabilities: np.ndarray) -> Detections:
    """Return the true boxes, each once per class, with the probability of the class as score."""
    count = len(probabilities)
    labels = np.tile(np.arange(len(CLASSES)), count)
    return np.repeat(scene["boxes"], len(CLASSES), axis=0), labels, probabilities.ravel()


def figures(scenes: list[dict], detect: Callable[[dict, np.ndarray], Detections]) -> str:
    """Return mAP@0.25 / mAP@0.5 of detections in percent."""
    matches: list[SceneMatches] = []
    for scene in scenes:
        labels = np.array([CLASSES.index(name) for name in scene["names"]], np.int64)
        boxes, found, scores = detect(scene, labels)
        truth = torch.from_numpy(scene["boxes"])
        matches.append(match_scene(torch.from_numpy(boxes), found, scores, truth, labels))
    means, _ = average_precision(matches, len(CLASSES), IOU_THRS).means()
    return " / ".join(f"{100 * value:.1f}" for value in means)


def progress(what: str) -> Callable[[int, int], None]:
    """Return a function that prints how far the writing is, at most each five seconds."""
    begin = last = time.perf_counter()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= 5 or done == total:
            left = (now - begin) / done * (total - done)
            print(f"{what}: {done} of {total} scenes, about {left:.0f} s left", flush=True)
            last = now

    return report


def main() -> None:
    """Prepare the data, then print where it is, its counts and reference scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/rooms"), help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed; all published figures are of 0")
    args = parser.parse_args()
    try:
        rooms.prepare(args.out, args.seed, report=progress("rooms"))
    except (OSError, ValueError) as error:
        sys.exit(f"rooms: {error}")
    objects = json.loads((args.out / "manifest.json").read_text())["objects"]
    print("objects " + "".join(f"{name:>12}" for name in CLASSES))
    for split, counts in objects.items():
        print(f"{split:<8}" + "".join(f"{counts[name]:>12}" for name in CLASSES))
    heads = ("chance", "sizes", "sizes + type", "oracle")
    print(f"\n{'mAP@0.25 / 0.5':<18}" + "".join(f"{head:>16}" for head in heads))
    for form in rooms.FORMS:
        prior = Prior(read_infos(str(args.out / f"rooms_{form}_train.pkl")).records)
        for split in ("val", "other"):
            scenes = read_infos(str(args.out / f"rooms_{form}_{split}.pkl")).records
            rng = np.random.default_rng(0)
            cells = (
                figures(scenes, lambda scene, labels, rng=rng: chance(scene, labels, rng)),
                figures(scenes, lambda s, _, p=prior: guessed(s, p(s["boxes"], None))),
                figures(scenes, lambda s, _, p=prior: guessed(s, p(s["boxes"], s["scene_type"]))),
                figures(scenes, oracle),
            )
            print(f"{form + ' ' + split:<18}" + "".join(f"{cell:>16}" for cell in cells))
    print(f"\nrooms data ready in {args.out}")


if __name__ == "__main__":
    main()
