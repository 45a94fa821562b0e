"""Boxes out of mmdet's data samples, as the models and pipelines of the stack leave them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from .quads import to_corners
from .records import Detections, GroundTruth, join_detections, join_ground_truth


def prediction_of(sample: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the ``boxes``, ``scores`` and ``labels`` that a sample predicts.

    Args:
        sample: A ``DetDataSample`` as a dict, with ``pred_instances``.

    Raises:
        ValueError: The sample has no predictions.
    """
    if "pred_instances" not in sample:
        raise ValueError(
            f"image {sample.get('img_id')!r} has no 'pred_instances': expected the data samples of "
            "a detector's predict(), or the .pkl that test.py --out writes"
        )
    instances = sample["pred_instances"]
    return dict(
        boxes=_array(instances["bboxes"]),
        scores=_array(instances["scores"]),
        labels=_array(instances["labels"]),
    )


def truth_of(sample: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return ``boxes``, ``labels`` and ``difficult`` of a sample's objects.

    Args:
        sample: A ``DetDataSample`` as a dict. Objects of ``ignored_instances`` are difficult.

    Raises:
        ValueError: The sample was loaded without annotations.
    """
    parts = []
    for name, difficult in (("gt_instances", False), ("ignored_instances", True)):
        instances = sample.get(name) or {}
        if "bboxes" in instances:
            boxes, labels = _array(instances["bboxes"]), _array(instances["labels"])
            parts.append((boxes, labels, np.full(len(boxes), difficult)))
    if not parts:
        raise ValueError(
            f"image {sample.get('img_id')!r} came without ground truth: add LoadAnnotations to the "
            "pipeline of the evaluated data set and 'ann_file' to the data set, give the metric "
            "'ann_dir', or set format_only=True"
        )
    corners = [to_corners(boxes).reshape(-1, 8) for boxes, _, _ in parts]
    return dict(
        boxes=np.concatenate(corners),
        labels=np.concatenate([labels for _, labels, _ in parts]),
        difficult=np.concatenate([difficult for _, _, difficult in parts]),
    )


def image_name(sample: dict[str, Any]) -> str:
    """Return the name of a sample's image.

    Raises:
        ValueError: ``img_id`` was not packed.
    """
    if "img_id" not in sample:
        raise ValueError("data sample without 'img_id': add it to PackDetInputs' meta_keys")
    return str(sample["img_id"])


def join_predictions(
    names: Sequence[str], predictions: Sequence[dict[str, np.ndarray]]
) -> Detections:
    """Put results of :func:`prediction_of` together."""
    return join_detections(
        names,
        [to_corners(part["boxes"]) for part in predictions],
        [part["scores"] for part in predictions],
        [part["labels"] for part in predictions],
    )


def join_truths(names: Sequence[str], truths: Sequence[dict[str, np.ndarray]]) -> GroundTruth:
    """Put results of :func:`truth_of` together."""
    return join_ground_truth(
        names,
        [to_corners(part["boxes"]) for part in truths],
        [part["labels"] for part in truths],
        [part["difficult"] for part in truths],
    )


def _array(values: Any) -> np.ndarray:
    """Return a tensor, box type or array as an array; bfloat16 has none of its own."""
    values = getattr(values, "tensor", values)
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    return np.asarray(values)
