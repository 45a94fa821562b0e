"""DOTA's rules once more, slowly: one detection at a time, polygons by shapely, in plain Python."""

import numpy as np
from shapely.geometry import Polygon


def area_of_overlap(first, second):
    """Shared area of two simple polygons."""
    return Polygon(first).intersection(Polygon(second)).area


def polygon_iou(first, second):
    shared = area_of_overlap(first, second)
    union = Polygon(first).area + Polygon(second).area - shared
    return shared / union if union else 0.0


def pixel_iou(first, second):
    """IoU of the upright boxes around; corners are pixels; the truth's are cut to integers."""
    a = [*np.min(first, axis=0), *np.max(first, axis=0)]
    b = [*map(int, np.min(second, axis=0)), *map(int, np.max(second, axis=0))]
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(width, 0) * max(height, 0)
    areas = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
    return shared / (sum(areas) - shared)


def walk_down(detections, truths, threshold, iou=polygon_iou):
    """Return the verdicts (True, False, None for left out), best score first.

    Args:
        detections: (image, score, corners) of one class, scores all different.
        truths: (image, corners, difficult) of that class.
        threshold: IoU that has to be exceeded.
    """
    taken = set()
    verdicts = []
    for image, _, corners in sorted(detections, key=lambda one: -one[1]):
        best, best_iou = None, -1.0
        for number, (other, target, _) in enumerate(truths):
            if other == image:
                overlap = iou(corners, target)
                if overlap > best_iou:
                    best, best_iou = number, overlap
        if best is None or not best_iou > threshold:
            verdicts.append(False)
        elif truths[best][2]:
            verdicts.append(None)
        else:
            verdicts.append(best not in taken)
            taken.add(best)
    return verdicts


def ap_of(verdicts, wanted, mode):
    """AP of one class, of ``wanted`` objects."""
    points, right, false = [], 0, 0
    for verdict in verdicts:
        right += verdict is True
        false += verdict is False
        points.append((right / wanted, right / (right + false) if right + false else 0.0))
    if mode == "11points":
        levels = np.arange(0.0, 1.1, 0.1)
        return sum(max((p for r, p in points if r >= t), default=0.0) for t in levels) / 11
    total, reached = 0.0, 0.0
    for index, (recall, _) in enumerate(points):
        if recall > reached:
            total += (recall - reached) * max(p for _, p in points[index:])
            reached = recall
    return total


def literal_nms(boxes, scores, threshold, iou=polygon_iou):
    """Indices of what stays, best score first."""
    kept = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(iou(boxes[k], boxes[index]) <= threshold for k in kept):
            kept.append(index)
    return kept
