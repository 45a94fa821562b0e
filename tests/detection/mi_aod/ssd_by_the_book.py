"""MI-AOD's losses of SSD300, written down from their description image by image, in numpy.

No assigner, sampler or loss of mmdet is used, so that errors shared with the head would show.
"""

import numpy as np

SIZES, STRIDES = (38, 19, 10, 5, 3, 1), (8, 16, 32, 64, 100, 300)
RATIOS = ([2], [2, 3], [2, 3], [2, 3], [2], [2])
# VOC, from 0.2 to 0.9 of 300 px in five steps; the first is half of that.
BASES = (30, 60, 111, 162, 213, 264, 315)
STDS = np.array([0.1, 0.1, 0.2, 0.2])


def priors() -> np.ndarray:
    """All 8732 boxes x1, y1, x2, y2."""
    boxes = []
    for level, (size, stride, ratios) in enumerate(zip(SIZES, STRIDES, RATIOS, strict=True)):
        small, large = BASES[level], np.sqrt(BASES[level] * BASES[level + 1])
        shapes = [(small, small), (large, large)]
        for ratio in ratios:
            root = np.sqrt(ratio)
            shapes += [(small * root, small / root), (small / root, small * root)]
        for y in range(size):
            for x in range(size):
                centre = (x + 0.5) * stride, (y + 0.5) * stride
                for w, h in shapes:
                    boxes.append((*centre, w, h))
    cx, cy, w, h = np.array(boxes).T
    return np.stack((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2), 1)


def overlaps(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Intersection over union, (priors, objects)."""
    low = np.maximum(boxes[:, None, :2], objects[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], objects[None, :, 2:])
    inner = np.clip(high - low, 0, None).prod(-1)
    areas = [(b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes, objects)]
    return inner / (areas[0][:, None] + areas[1][None] - inner)


def assign(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Number of the object that each prior learns, -1 for the background."""
    assigned = np.full(len(boxes), -1)
    if len(objects):
        iou = overlaps(boxes, objects)
        positive = iou.max(1) >= 0.5
        assigned[positive] = iou.argmax(1)[positive]
        for i in range(len(objects)):  # each has its best prior, however little they overlap
            if iou[:, i].max() > 0:
                assigned[iou[:, i].argmax()] = i
    return assigned


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def classification(logits: np.ndarray, labels: np.ndarray, background: int) -> float:
    """Cross-entropy of positives and of the three times as many hardest negatives."""
    loss = -log_softmax(logits)[np.arange(len(labels)), labels]
    negative = np.sort(loss[labels == background])[::-1]
    positive = loss[labels != background]
    return positive.sum() + negative[: 3 * len(positive)].sum()


def localisation(deltas: np.ndarray, boxes: np.ndarray, objects: np.ndarray) -> float:
    """Smooth L1 of the deltas of positives."""
    wh, goal_wh = boxes[:, 2:] - boxes[:, :2], objects[:, 2:] - objects[:, :2]
    shift = (objects[:, :2] + objects[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2 / wh
    goal = np.concatenate((shift, np.log(goal_wh / wh)), 1) / STDS
    error = np.abs(deltas - goal)
    return np.where(error < 1, error**2 / 2, error - 0.5).sum()


def instance_scores(mil: list, first: list, second: list) -> list[np.ndarray]:
    """Of one image: (A, K) of each level."""
    scores = []
    for z, a, b in zip(mil, first, second, strict=True):
        anchor = np.exp(sigmoid((a + b) / 2).max(1))
        scores.append(np.exp(log_softmax(z)) * (anchor / anchor.sum())[:, None])
    return scores


def image_loss(scores: list[list[np.ndarray]], targets: np.ndarray) -> float:
    """Binary cross-entropy, with the highest level of each image."""
    found = np.array([np.max([level.sum(0) for level in image], 0) for image in scores])
    found = found.clip(1e-5, 1 - 1e-5)
    return -(targets * np.log(found) + (1 - targets) * np.log(1 - found)).mean()
