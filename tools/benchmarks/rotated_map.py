"""Times AP of rotated boxes: ours against mmrotate's ``eval_rbbox_map``, on the same boxes.

    python tools/benchmarks/rotated_map.py [--images 100] [--detections 2000] [--runs 3]

Prints one markdown table: seconds, the best of several runs. mmrotate starts a pool of processes in
each call; the row "without its pool" runs its code in this process, which shows what that costs.
The boxes are drawn so that the two sets of rules agree (no difficult objects, no equal scores, no
IoU at a threshold to float32's precision, every class present), and the APs are checked to be the
same.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import starmap
from multiprocessing import cpu_count
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch

from mmext.leaderboards.rotated_ap import IOU_THRS, average_precision
from mmext.rotated.evaluation import (
    Detections,
    GroundTruth,
    join_detections,
    join_ground_truth,
    to_corners,
)
from mmext.rotated.evaluation.quads import horizontal_boxes, overlapping_pairs, pair_iou

CHECKED = (0.5, 0.75)
Boxes = tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], list[np.ndarray]]


def draw(images: int, detections: int, objects: int, classes: int) -> Boxes:
    """Draw objects in 1024-px images, and detections around some of them and anywhere.

    Returns:
        Per image the (G, 5) objects, (G,) labels, (D, 6) detections with score, (D,) labels.
    """
    rng = np.random.default_rng(0)
    columns: Boxes = ([], [], [], [])
    scores = rng.permutation(images * detections).reshape(images, -1) / (images * detections)
    for image in range(images):
        long = rng.uniform(12, 120, objects)
        truth = np.column_stack(
            [
                rng.uniform(0, 1024, (objects, 2)),
                long,
                long / rng.uniform(1, 6, objects),
                rng.uniform(-np.pi / 2, np.pi / 2, objects),
            ]
        )
        labels = rng.integers(0, classes, objects)
        origin = rng.integers(0, objects, detections)
        found, found_labels = truth[origin].copy(), labels[origin]
        found[:, :2] += rng.normal(0, 0.1, (detections, 2)) * found[:, 2:4].min(1, keepdims=True)
        found[:, 2:4] *= np.exp(rng.normal(0, 0.1, (detections, 2)))
        found[:, 4] += rng.normal(0, 0.05, detections)
        lost = rng.random(detections) < 0.5
        found[lost, :2] = rng.uniform(0, 1024, (lost.sum(), 2))
        near = near_threshold(found, truth)
        found, found_labels = found[~near], found_labels[~near]
        columns[0].append(truth)
        columns[1].append(labels)
        columns[2].append(np.column_stack([found, scores[image, ~near]]))
        columns[3].append(found_labels)
    return columns


def near_threshold(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return (D,) bool: which boxes have an IoU that float32 may put to either side."""
    a, b = to_corners(found), to_corners(truth)
    boxes = horizontal_boxes(a), horizontal_boxes(b)
    one_group = np.zeros(len(a), np.int64), np.zeros(len(b), np.int64)
    first, second = overlapping_pairs(boxes[0], one_group[0], boxes[1], one_group[1])
    iou = pair_iou(a[first], b[second])
    close = (np.abs(iou[:, None] - CHECKED) < 1e-5).any(axis=1)
    return np.isin(np.arange(len(a)), first[close])


def as_records(boxes: Boxes) -> tuple[Detections, GroundTruth]:
    """Return the boxes as ours takes them."""
    names = [f"{index:05d}" for index in range(len(boxes[0]))]
    detections = join_detections(
        names,
        [to_corners(part[:, :5]) for part in boxes[2]],
        [part[:, 5] for part in boxes[2]],
        boxes[3],
    )
    easy = [np.zeros(len(part), bool) for part in boxes[1]]
    return detections, join_ground_truth(names, list(map(to_corners, boxes[0])), boxes[1], easy)


def as_lists(boxes: Boxes, classes: int) -> tuple[list[list[np.ndarray]], list[dict]]:
    """Return the boxes as mmrotate takes them."""
    found = [
        [part[labels == label].astype(np.float32) for label in range(classes)]
        for part, labels in zip(boxes[2], boxes[3], strict=True)
    ]
    truths = [
        dict(
            bboxes=part.astype(np.float32),
            labels=labels,
            bboxes_ignore=np.zeros((0, 5), np.float32),
            labels_ignore=np.zeros(0, np.int64),
        )
        for part, labels in zip(boxes[0], boxes[1], strict=True)
    ]
    return found, truths


@contextlib.contextmanager
def without_pool() -> Iterator[None]:
    """Let mmrotate's evaluation run in this process."""
    pool = SimpleNamespace(starmap=lambda f, args: list(starmap(f, args)), close=lambda: None)
    context = SimpleNamespace(Pool=lambda processes: pool)
    place = "mmrotate.evaluation.functional.mean_ap.get_context"
    with mock.patch(place, return_value=context):
        yield


def seconds(function: Callable[[], np.ndarray]) -> float:
    """Return how long a call takes."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main() -> None:
    """Time, check and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--detections", type=int, default=2000, help="per image")
    parser.add_argument("--objects", type=int, default=300, help="per image")
    parser.add_argument("--classes", type=int, default=15)
    parser.add_argument("--runs", type=int, default=2)
    args = parser.parse_args()
    from mmrotate.evaluation import eval_rbbox_map

    torch.set_num_threads(1)
    boxes = draw(args.images, args.detections, args.objects, args.classes)
    detections, truth = as_records(boxes)
    found, truths = as_lists(boxes, args.classes)
    names = [f"class {label}" for label in range(args.classes)]

    def ours(iou_thrs: tuple[float, ...] = CHECKED[:1]) -> np.ndarray:
        return average_precision(detections, truth, names, iou_thrs=iou_thrs).ap

    def theirs(threshold: float = CHECKED[0], **options: int) -> np.ndarray:
        parts = eval_rbbox_map(found, truths, iou_thr=threshold, logger="silent", **options)[1]
        return np.array([part["ap"] for part in parts])

    def unpooled(threshold: float = CHECKED[0]) -> np.ndarray:
        with without_pool():
            return theirs(threshold)

    expected = ours(CHECKED)
    for row, threshold in enumerate(CHECKED):
        np.testing.assert_allclose(unpooled(threshold), expected[row], atol=2e-6)
    print(
        f"{args.images} images of {args.detections} detections and {args.objects} objects of "
        f"{args.classes} classes, {cpu_count()} CPUs, 1 thread per process\n\n"
        "| AP50 | mmrotate, s | ours, s | times as fast |\n|---|---|---|---|",
        flush=True,
    )
    rows = {
        "mmrotate without its pool": unpooled,
        "mmrotate, nproc=1": partial(theirs, nproc=1),
        "mmrotate, nproc=4 (its default)": theirs,
    }
    for name, function in rows.items():
        # They take turns, so that other load on the machine hits both.
        times = np.array([[seconds(function), seconds(ours)] for _ in range(args.runs)]).min(axis=0)
        print(
            f"| {name} | {times[0]:.2f} | {times[1]:.2f} | {times[0] / times[1]:.1f} |", flush=True
        )
    means = ", ".join(
        f"AP{100 * t:g} {100 * ap.mean():.3f}" for t, ap in zip(CHECKED, expected, strict=True)
    )
    print(f"\nours, AP50 to AP95 in one go: {seconds(partial(ours, IOU_THRS)):.2f} s")
    print(f"the same AP per class within 2e-6; means: {means}")


if __name__ == "__main__":
    main()
