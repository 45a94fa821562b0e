"""What acquisitions read from the detections of any detector."""

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps, get_box_tensor
from torch import Tensor, nn

_SAME_OBJECT = 0.5


def detect(model: nn.Module, batch: dict) -> list[DetDataSample]:
    """Run the detector as in a test.

    Args:
        model: Any mmdet detector.
        batch: Of a test data loader.

    Returns:
        Samples with ``pred_instances``, boxes in pixels of the original image.
    """
    return model.test_step(batch)


def class_distributions(boxes: Tensor, scores: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return for each detection how probable each class and background are there.

    Detectors hand out one class per box; if they hesitate, the same object is found once for each
    class. So the probability of a class is the highest score of that class among the detections
    that overlap by an IoU of 0.5 or more, and what is left over is background. Needs nothing but
    detections, so it holds for any detector; classes below the detector's ``score_thr`` count 0.

    Args:
        boxes: (N, 4) corners in pixels.
        scores: (N,) in [0, 1].
        labels: (N,) class indices.
        classes: C, number of classes.

    Returns:
        (N, C + 1) rows that sum to 1, background last.
    """
    same = bbox_overlaps(boxes, boxes) >= _SAME_OBJECT
    same.fill_diagonal_(True)  # boxes without area overlap nothing, not even themselves
    found = scores.new_zeros(len(scores), classes)
    found.scatter_reduce_(1, labels.expand(len(scores), -1), same * scores, "amax")
    total = found.sum(1, keepdim=True)
    left = (1 - total).clamp(min=0)
    return torch.cat((found, left), 1) / total.clamp(min=1)


def sample_distributions(sample: DetDataSample, classes: int) -> Tensor:
    """Return :func:`class_distributions` of a sample's ``pred_instances``."""
    found = sample.pred_instances
    return class_distributions(get_box_tensor(found.bboxes), found.scores, found.labels, classes)


def number_of_classes(model: nn.Module) -> int:
    """Return how many classes the heads of a detector tell apart.

    Raises:
        ValueError: No head of the model says so.
    """
    heads = [part for name, part in model.named_modules() if "head" in name]
    found = [head.num_classes for head in heads if isinstance(vars(head).get("num_classes"), int)]
    if not found:
        raise ValueError(
            f"no head of the {type(model).__name__} has num_classes: expected an mmdet detector"
        )
    return max(found)
