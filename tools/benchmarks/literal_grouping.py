"""CenterNet++'s post-processing written down step by step, one image and one pair at a time.

What a port of the method's description without any vectorising of its grouping looks like: decode
each level, suppress duplicates class by class, then try each top-left quarter box with each
bottom-right one. ``centernetpp_reppoints.py`` times it beside the package's; the tests compare the
detections of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmcv.ops import nms, soft_nms

Array = np.ndarray
Detections = tuple[Array, Array, Array]
"""(K, 4) boxes in pixels, (K,) scores, (K,) classes, best first."""


@dataclass(frozen=True)
class Settings:
    """The published numbers.

    Attributes:
        nms_pre (int): Cells kept per level and branch.
        score_thr (float): Scores below do not count.
        iou_threshold (float): Of both suppressions.
        keep (int): Quarter boxes kept per branch, and objects per image.
        distance_threshold (float): Largest share of the central region between the centres.
        soft (bool): Whether objects of the fast head are suppressed linearly instead.
    """

    nms_pre: int = 1000
    score_thr: float = 0.05
    iou_threshold: float = 0.6
    keep: int = 100
    distance_threshold: float = 0.5
    soft: bool = False


def decode_branch(
    cls_scores: Sequence[Array],
    points: Sequence[Array],
    strides: Sequence[int],
    img_shape: tuple[int, int],
    settings: Settings,
) -> tuple[list[Array], list[Array]]:
    """Decode the best cells of each level of one branch.

    Args:
        cls_scores (Sequence[ndarray]): Class logits per level, (C, H, W).
        points (Sequence[ndarray]): Point sets per level, (2K, H, W).
        strides (Sequence[int]): Pixels per cell.
        img_shape (tuple[int, int]): Height and width in pixels.
        settings (Settings): Numbers of the method.

    Returns:
        tuple[list[ndarray], list[ndarray]]: Per level (M, 4) quarter boxes and (M, C) scores.
    """
    boxes, scores = [], []
    limits = np.array([img_shape[1], img_shape[0]] * 2, dtype=np.float32)
    for logits, point_set, stride in zip(cls_scores, points, strides, strict=True):
        classes, height, width = logits.shape
        level_scores = torch.from_numpy(logits).sigmoid().numpy().reshape(classes, -1).T
        y1, x1, y2, x2 = point_set[:4].reshape(4, -1)
        row, column = np.divmod(np.arange(height * width, dtype=np.float32), np.float32(width))
        level_boxes = np.stack((x1, y1, x2, y2), 1) * np.float32(stride)
        level_boxes += np.stack((column, row, column, row), 1) * np.float32(stride)
        if len(level_scores) > settings.nms_pre:
            best = np.argsort(-level_scores.max(1), kind="stable")[: settings.nms_pre]
            level_scores, level_boxes = level_scores[best], level_boxes[best]
        boxes.append(np.clip(level_boxes, 0, limits))
        scores.append(level_scores)
    return boxes, scores


def refine_branch(
    boxes: list[Array],
    corners: tuple[int, int],
    hm_scores: Sequence[Array],
    hm_offsets: Sequence[Array],
    strides: Sequence[int],
    img_shape: tuple[int, int],
) -> list[Array]:
    """Replace the corners of all levels but the finest by key points of the heat maps.

    Args:
        boxes (list[ndarray]): Per level (M, 4) quarter boxes.
        corners (tuple[int, int]): Heat maps of the upper left and of the lower right corner.
        hm_scores (Sequence[ndarray]): Logits of the heat maps per level, (3, H, W).
        hm_offsets (Sequence[ndarray]): Their x, y offsets per level, (6, H, W).
        strides (Sequence[int]): Pixels per cell.
        img_shape (tuple[int, int]): Height and width in pixels.

    Returns:
        list[ndarray]: Per level (M, 4) quarter boxes.
    """
    refined = [boxes[0]]
    for level in range(1, len(boxes)):
        source = 0 if level <= 2 else 1
        stride = strides[source]
        sides = []
        for side, keypoint in enumerate(corners):
            heat = hm_scores[source][keypoint]
            offset = hm_offsets[source][2 * keypoint : 2 * keypoint + 2]
            height, width = heat.shape
            x, y = boxes[level][:, 2 * side : 2 * side + 2].T / np.float32(stride)
            j = np.clip(x, 0, width - 2).astype(int)
            i = np.clip(y, 0, height - 2).astype(int)
            window = np.stack([heat[i + di, j + dj] for di in (0, 1) for dj in (0, 1)])
            di, dj = np.divmod(window.argmax(0), 2)
            i, j = i + di, j + dj
            place = np.stack((j, i)).astype(np.float32) + offset[:, i, j]
            limits = np.array([[img_shape[1]], [img_shape[0]]], dtype=np.float32)
            sides.append(np.clip(place * np.float32(stride), 0, limits).T)
        refined.append(np.concatenate(sides, 1))
    return refined


def suppress(
    boxes: Array, scores: Array, labels: Array, settings: Settings, soft: bool
) -> Detections:
    """Suppress duplicates, one class after the other, and keep the best of all.

    Args:
        boxes (ndarray): (N, 4) boxes.
        scores (ndarray): (N,) scores.
        labels (ndarray): (N,) classes.
        settings (Settings): Numbers of the method.
        soft (bool): Whether to lower scores linearly instead of removing boxes.

    Returns:
        tuple[ndarray, ndarray, ndarray]: Boxes, scores and classes, best first.
    """
    kept: list[Detections] = []
    for label in np.unique(labels):
        mine = labels == label
        pair = torch.from_numpy(boxes[mine]), torch.from_numpy(scores[mine])
        if soft:
            dets, _ = soft_nms(*pair, settings.iou_threshold, min_score=1e-3, method="linear")
        else:
            dets, _ = nms(*pair, settings.iou_threshold)
        dets = dets.numpy()
        kept.append((dets[:, :4], dets[:, 4], np.full(len(dets), label)))
    if not kept:
        return boxes, scores, labels
    boxes, scores, labels = (np.concatenate(part) for part in zip(*kept, strict=True))
    best = np.argsort(-scores, kind="stable")[: settings.keep]
    return boxes[best], scores[best], labels[best]


def best_quarters(boxes: Array, scores: Array, settings: Settings) -> Detections:
    """Suppress the quarter boxes of one branch; each may belong to several classes.

    Args:
        boxes (ndarray): (M, 4) quarter boxes.
        scores (ndarray): (M, C) scores.
        settings (Settings): Numbers of the method.

    Returns:
        tuple[ndarray, ndarray, ndarray]: Boxes, scores and classes, best first.
    """
    cell, label = (scores > settings.score_thr).nonzero()
    return suppress(boxes[cell], scores[cell, label], label, settings, soft=False)


def pair_up(top_left: Detections, bottom_right: Detections, settings: Settings) -> Detections:
    """Try all pairs of a top-left and a bottom-right quarter box.

    Args:
        top_left (tuple[ndarray, ndarray, ndarray]): Boxes, scores and classes.
        bottom_right (tuple[ndarray, ndarray, ndarray]): The same of the other branch.
        settings (Settings): Numbers of the method.

    Returns:
        tuple[ndarray, ndarray, ndarray]: Boxes, scores and classes of the pairs that hold.
    """
    boxes, scores, labels = [], [], []
    for tl_box, tl_score, tl_label in zip(*top_left, strict=True):
        for br_box, br_score, br_label in zip(*bottom_right, strict=True):
            x1, y1, tl_x, tl_y = tl_box.astype(np.float64)
            br_x, br_y, x2, y2 = br_box.astype(np.float64)
            width, height = x2 - x1, y2 - y1
            score = (np.float64(tl_score) + np.float64(br_score)) / 2
            ratio = 1 / 4 if width * height > 3500 else 1 / 5
            left, right = (x1 + x2 - ratio * width) / 2, (x1 + x2 + ratio * width) / 2
            top, bottom = (y1 + y2 - ratio * height) / 2, (y1 + y2 + ratio * height) / 2
            between = abs(tl_x - br_x) * abs(tl_y - br_y)
            region = (right - left) * (bottom - top)
            if tl_label != br_label or x2 <= x1 or y2 <= y1:
                continue
            if between / region > settings.distance_threshold:
                continue
            if not (left < tl_x < right and top < tl_y < bottom):
                continue
            if not (left < br_x < right and top < br_y < bottom):
                continue
            boxes.append((x1, y1, x2, y2))
            scores.append(score)
            labels.append(tl_label)
    return (
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(scores, dtype=np.float32),
        np.array(labels, dtype=np.int64),
    )


def literal_quarters(
    outs: Sequence[Sequence[torch.Tensor]],
    image: int,
    meta: dict,
    strides: Sequence[int],
    settings: Settings,
) -> list[Detections]:
    """Quarter boxes of one image in the original image, those to be grouped.

    Args:
        outs (Sequence[Sequence[Tensor]]): Outputs of a CenterNet++ head: 9 of the full one, 7 of
            the fast one, each a list over levels.
        image (int): Index in the batch.
        meta (dict): ``img_shape`` and ``scale_factor``.
        strides (Sequence[int]): Pixels per cell.
        settings (Settings): Numbers of the method.

    Returns:
        list[tuple[ndarray, ndarray, ndarray]]: Top-left and bottom-right quarter boxes, scores
        and classes, best first.
    """
    arrays = [[level[image].float().numpy() for level in maps] for maps in outs]
    img_shape = meta["img_shape"][:2]
    scale = np.array([*meta["scale_factor"]] * 2, dtype=np.float32)
    branches = []
    for cls_scores, points, corners in (
        (arrays[0], arrays[4], (0, 2)),
        (arrays[1], arrays[5], (2, 1)),
    ):
        boxes, scores = decode_branch(cls_scores, points, strides, img_shape, settings)
        if len(arrays) == 9:
            boxes = refine_branch(boxes, corners, arrays[6], arrays[7], strides, img_shape)
        branches.append(
            best_quarters(np.concatenate(boxes) / scale, np.concatenate(scores), settings)
        )
    return branches


def literal_detections(
    outs: Sequence[Sequence[torch.Tensor]],
    image: int,
    meta: dict,
    strides: Sequence[int],
    settings: Settings = Settings(),
) -> Detections:
    """Detections of one image in the original image, from the outputs of a CenterNet++ head.

    Args:
        outs (Sequence[Sequence[Tensor]]): See :func:`literal_quarters`.
        image (int): Index in the batch.
        meta (dict): ``img_shape`` and ``scale_factor``.
        strides (Sequence[int]): Pixels per cell.
        settings (Settings): Numbers of the method.

    Returns:
        tuple[ndarray, ndarray, ndarray]: Boxes, scores and classes, best first.
    """
    pairs = pair_up(*literal_quarters(outs, image, meta, strides, settings), settings)
    return suppress(*pairs, settings, settings.soft)
