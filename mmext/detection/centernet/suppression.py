"""Non-maximum suppression that stops when it has enough boxes."""

from mmcv.ops import batched_nms
from mmdet.utils import OptConfigType
from torch import Tensor

# The first attempt looks at so many times the boxes that are wanted, each next one again.
_GROWTH = 4


def best_after_nms(
    boxes: Tensor, scores: Tensor, labels: Tensor, nms_cfg: OptConfigType, keep: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Suppress duplicates within each class and return the best of what remains.

    Equals ``batched_nms`` cut to ``keep`` boxes. Greedy suppression goes from the best box down,
    so whether a box stays depends on better ones only: if ``keep`` of the few best boxes stay,
    they are the result, and the long tail of low scores, which takes nearly all of the time, is
    never compared. Soft suppression changes the order, so there all boxes are looked at.

    Args:
        boxes (Tensor): (N, 4) boxes x1, y1, x2, y2 in pixels.
        scores (Tensor): (N,) scores.
        labels (Tensor): (N,) classes.
        nms_cfg (dict | None): As for ``mmcv.ops.batched_nms``; None only sorts.
        keep (int): Most boxes to return, at least 1.

    Returns:
        tuple[Tensor, Tensor, Tensor]: (K, 4) boxes, (K,) scores and (K,) classes, best first.

    Raises:
        ValueError: ``keep`` is less than 1.
    """
    if keep < 1:
        raise ValueError(
            f"asked to keep {keep} boxes: set model.test_cfg.max_per_branch and "
            "model.test_cfg.max_per_img to 1 or more (there is no number for all)."
        )
    if len(boxes) == 0:
        return boxes, scores, labels
    greedy = nms_cfg is None or nms_cfg.get("type", "nms") == "nms"
    count = _GROWTH * keep if greedy else len(boxes)
    while True:
        best = scores.topk(min(count, len(boxes))).indices
        dets, index = batched_nms(boxes[best], scores[best], labels[best], nms_cfg)
        if len(index) >= keep or count >= len(boxes):
            dets, index = dets[:keep], index[:keep]
            return dets[:, :4], dets[:, 4], labels[best[index]]
        count *= _GROWTH
