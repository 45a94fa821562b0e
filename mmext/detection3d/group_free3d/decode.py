"""From raw predictions to detections."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmext.ops import nms3d, points_in_boxes

from ..structures import Boxes3D
from .coder import BoxCoder
from .prediction import Stage

# No predicted side is shorter than this, in metres: a network may say what it likes.
MIN_SIDE = 1e-3
ENSEMBLES = ("last", "last_three", "all")


class Detections(NamedTuple):
    """What stages say about the scenes of a batch.

    Attributes:
        boxes: (B, P, 7) centre, size in metres and yaw in radians.
        objectness: (B, P) probabilities.
        class_prob: (B, P, K) probabilities of the classes.
    """

    boxes: Tensor
    objectness: Tensor
    class_prob: Tensor


def decode_stage(stage: Stage, coder: BoxCoder) -> Detections:
    """Decode the predictions of a stage.

    Args:
        stage: Raw predictions.
        coder: How headings and sizes are written.

    Returns:
        A box for every candidate.
    """
    size = stage.size
    if stage.size_scores is not None:
        size = coder.decode_size(stage.size_scores, stage.size_residuals)
    yaw = coder.decode_yaw(stage.heading_scores, stage.heading_residuals)
    boxes = torch.cat((stage.center, size.clamp(min=MIN_SIDE), yaw[..., None]), -1)
    return Detections(boxes, stage.objectness.sigmoid(), stage.semantic.softmax(-1))


def decode_stages(stages: Sequence[Stage], coder: BoxCoder, ensemble: str) -> Detections:
    """Decode one or several stages; the boxes of several then compete with each other.

    Args:
        stages: Of the candidates first, then of each layer.
        coder: How headings and sizes are written.
        ensemble: ``last``, ``last_three`` or ``all``, which includes the candidates.

    Returns:
        The boxes of the stages one after the other.

    Source: Group-Free-3D, section 3.5 (multi-stage ensemble).
    """
    chosen = dict(last=stages[-1:], last_three=stages[-3:], all=stages)[ensemble]
    decoded = [decode_stage(stage, coder) for stage in chosen]
    return Detections(*(torch.cat(parts, 1) for parts in zip(*decoded, strict=True)))


def detect(
    boxes: Tensor,
    objectness: Tensor,
    class_prob: Tensor,
    points: Tensor,
    *,
    score_thr: float = 0.0,
    min_points: int = 5,
    nms_iou: float = 0.25,
    per_class_proposal: bool = True,
) -> InstanceData:
    """Choose the detections of a scene.

    Boxes with few points inside are left out, then of overlapping boxes of a class all but the one
    of highest objectness. Overlap is that of axis-aligned hulls, also of turned boxes.

    Args:
        boxes: (P, 7) centre, size in metres and yaw in radians.
        objectness: (P,) probabilities.
        class_prob: (P, K) probabilities.
        points: (N, 3) of the scene, in metres.
        score_thr: Objectness has to be above this.
        min_points: Points that have to lie in a box.
        nms_iou: IoU of hulls above which boxes of one class exclude each other.
        per_class_proposal: Give every box that is left once for each class, with the product of
            objectness and the probability of the class; else once, with its best class and its
            objectness.

    Returns:
        ``bboxes_3d``, ``labels_3d`` and ``scores_3d``, class by class and therein in the order of
        the candidates.

    Source: the official evaluation of Group-Free-3D, ``eval_avg.py``.
    """
    keep = objectness > score_thr
    if min_points > 0:
        keep = keep & (points_in_boxes(points, boxes).sum(0) >= min_points)
    index = keep.nonzero()[:, 0]
    best = class_prob.argmax(-1)
    left = nms3d(boxes[index], objectness[index], nms_iou, labels=best[index], rotated=False)
    index = index[left].sort().values
    boxes, objectness, class_prob = boxes[index], objectness[index], class_prob[index]
    if per_class_proposal:
        num_classes = class_prob.shape[1]
        scores = (objectness[:, None] * class_prob).T.flatten()
        labels = torch.arange(num_classes, device=boxes.device).repeat_interleave(len(boxes))
        boxes = boxes.repeat(num_classes, 1)
    else:
        labels, scores = best[index], objectness
        labels, order = labels.sort(stable=True)
        boxes, scores = boxes[order], scores[order]
    return InstanceData(bboxes_3d=Boxes3D(boxes), labels_3d=labels, scores_3d=scores)
