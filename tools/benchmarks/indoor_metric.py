"""Times mAP and mAR of indoor detections: ours against loops in the manner of VoteNet's evaluation.

    python tools/benchmarks/indoor_metric.py [--scenes 312] [--loop-scenes 4] [--boxes 256]

As many scenes as ScanNet's validation set, each box emitted once per class with its own score, two
thresholds. The loops (our own: class by class, detection by detection, object by object, a polygon
clipped in Python for each pair, all of it again for the second threshold) take so long that they
get fewer scenes; the table gives seconds per scene. On these scenes both must agree to 1e-9.
"""

import argparse
import math
import time

import numpy as np
import torch

from mmext.detection3d.average_precision import APTable, average_precision, match_scene
from mmext.detection3d.structures import Boxes3D

IOU_THRS = (0.25, 0.5)
Scene = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def draw(scenes: int, boxes: int, objects: int, classes: int) -> list[Scene]:
    """Draw scenes.

    Returns:
        Per scene (N, 7) boxes, (N,) labels, (N,) scores, (G, 7) objects, (G,) labels, with N =
        ``boxes * classes``.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(scenes):
        low, high = (-4, -4, 0.2, 0.3, 0.3, 0.3, -math.pi), (4, 4, 1.0, 1.8, 1.8, 1.2, math.pi)
        truth = rng.uniform(low, high, (objects, 7))
        spread = np.array([0.15, 0.15, 0.1, 0.1, 0.1, 0.1, 0.15])
        near = truth[rng.integers(objects, size=boxes)] + rng.standard_normal((boxes, 7)) * spread
        near[:, 3:6] = np.maximum(near[:, 3:6], 0.1)
        labels = np.tile(np.arange(classes), boxes)
        scores = rng.random(boxes * classes)
        truth_labels = rng.integers(classes, size=objects)
        found.append((np.repeat(near, classes, axis=0), labels, scores, truth, truth_labels))
    return found


def ours(scenes: list[Scene], classes: int) -> APTable:
    """Evaluate as ``IndoorMetric`` does."""
    matches = [
        match_scene(torch.from_numpy(boxes), labels, scores, torch.from_numpy(truth), kinds)
        for boxes, labels, scores, truth, kinds in scenes
    ]
    return average_precision(matches, classes, IOU_THRS)


def clip(polygon: list, a: tuple, b: tuple) -> list:
    """Return the part of a polygon to the left of the line from ``a`` to ``b``."""
    kept = []
    for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        sides = [(b[0] - a[0]) * (r[1] - a[1]) - (b[1] - a[1]) * (r[0] - a[0]) for r in (p, q)]
        if sides[0] >= 0:
            kept.append(p)
        if sides[0] * sides[1] < 0:
            share = sides[0] / (sides[0] - sides[1])
            kept.append((p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])))
    return kept


def pair_iou(a: np.ndarray, b: np.ndarray, corners_a: list, corners_b: list) -> float:
    """Return the IoU of two boxes; their lower corners are counter-clockwise (x, y)."""
    shared = corners_a
    for p, q in zip(corners_b, corners_b[1:] + corners_b[:1], strict=True):
        shared = clip(shared, p, q)
        if not shared:
            return 0.0
    area = 0.5 * abs(
        sum(p[0] * q[1] - p[1] * q[0] for p, q in zip(shared, shared[1:] + shared[:1], strict=True))
    )
    top = min(a[2] + a[5] / 2, b[2] + b[5] / 2)
    bottom = max(a[2] - a[5] / 2, b[2] - b[5] / 2)
    overlap = area * max(0.0, top - bottom)
    return overlap / (a[3] * a[4] * a[5] + b[3] * b[4] * b[5] - overlap)


def loops(scenes: list[Scene], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (T,) mAP and mAR, a detection at a time."""
    means = []
    for threshold in IOU_THRS:
        figures = []
        for kind in range(classes):
            objects, detections = [], []
            for number, (boxes, labels, scores, truth, truth_labels) in enumerate(scenes):
                chosen = truth[truth_labels == kind]
                objects.append((chosen, _lower(chosen), [False] * len(chosen)))
                rows = labels == kind
                for box, corners, score in zip(
                    boxes[rows], _lower(boxes[rows]), scores[rows], strict=True
                ):
                    detections.append((score, number, box, corners))
            count = sum(len(chosen) for chosen, _, _ in objects)
            if count == 0:
                continue
            hits = []
            for _, number, box, corners in sorted(detections, key=lambda d: -d[0]):
                chosen, outlines, used = objects[number]
                best, index = -1.0, -1
                for i in range(len(chosen)):
                    iou = pair_iou(box, chosen[i], corners, outlines[i])
                    if iou > best:
                        best, index = iou, i
                hit = best > threshold and not used[index]
                if hit:
                    used[index] = True
                hits.append(hit)
            right = np.cumsum(hits)
            recall, precision = right / count, right / np.arange(1, len(hits) + 1)
            envelope = np.maximum.accumulate(precision[::-1])[::-1]
            figures.append(((np.diff(recall, prepend=0) * envelope).sum(), recall[-1]))
        means.append(np.mean(figures, axis=0))
    return np.array(means)[:, 0], np.array(means)[:, 1]


def _lower(boxes: np.ndarray) -> list:
    """Return the lower corners of boxes, counter-clockwise, as lists of (x, y)."""
    corners = Boxes3D(boxes).corners[:, [3, 2, 1, 0], :2].tolist()
    return [[tuple(corner) for corner in box] for box in corners]


def main() -> None:
    """Draw, time and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=312)
    parser.add_argument("--loop-scenes", type=int, default=4, help="scenes for the loops")
    parser.add_argument("--boxes", type=int, default=256, help="boxes per scene")
    parser.add_argument("--objects", type=int, default=14, help="true boxes per scene")
    parser.add_argument("--classes", type=int, default=18)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    # Of one thread the time on a core, which other load on the machine does not change.
    clock = time.process_time if args.threads == 1 else time.perf_counter
    scenes = draw(args.scenes, args.boxes, args.objects, args.classes)
    few = scenes[: args.loop_scenes]
    begin = clock()
    slow = loops(few, args.classes)
    middle = clock()
    fast = ours(few, args.classes).means()
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-9)
    again = clock()
    ours(scenes, args.classes)
    seconds = dict(loops=(middle - begin, len(few)), mmext=(clock() - again, len(scenes)))
    print(f"{args.boxes} boxes x {args.classes} classes, {args.objects} objects per scene")
    print("| | scenes | seconds | ms per scene | times as fast |\n|---|---|---|---|---|")
    base = seconds["loops"][0] / seconds["loops"][1]
    for name, (total, count) in seconds.items():
        each = total / count
        print(f"| {name} | {count} | {total:.2f} | {1000 * each:.1f} | {base / each:.0f} |")


if __name__ == "__main__":
    main()
