import pytest
import torch
from mmcv.ops import batched_nms

from mmext.detection.centernet.suppression import best_after_nms


def crowd(count, duplicates):
    """Boxes of three classes; each comes with near copies of lower scores."""
    corner = torch.rand(count, 2) * 500
    boxes = torch.cat((corner, corner + 20 + torch.rand(count, 2) * 40), 1)
    boxes = boxes.repeat_interleave(duplicates, 0) + torch.rand(count * duplicates, 4)
    labels = torch.randint(3, (count,)).repeat_interleave(duplicates)
    return boxes, torch.rand(len(boxes)), labels


@pytest.mark.parametrize("duplicates", [1, 5, 40])
@pytest.mark.parametrize("keep", [1, 10, 100, 10_000])
@pytest.mark.parametrize(
    "nms_cfg",
    [
        dict(type="nms", iou_threshold=0.6),
        dict(type="soft_nms", iou_threshold=0.6, min_score=1e-3, method="linear"),
        None,
    ],
)
def test_equals_suppressing_all_boxes(duplicates, keep, nms_cfg):
    """With 40 copies of each box, four times ``keep`` are too few at first."""
    boxes, scores, labels = crowd(800 // duplicates, duplicates)
    dets, index = batched_nms(boxes, scores, labels, nms_cfg)
    found = best_after_nms(boxes, scores, labels, nms_cfg, keep)
    for part, expected in zip(found, (dets[:, :4], dets[:, 4], labels[index]), strict=True):
        assert torch.equal(part, expected[:keep])


def test_nothing_stays_nothing():
    boxes, scores, labels = crowd(0, 1)
    found = best_after_nms(boxes, scores, labels, dict(type="nms", iou_threshold=0.6), 100)
    assert [part.shape for part in found] == [(0, 4), (0,), (0,)]


@pytest.mark.parametrize("keep", [0, -1])
def test_a_number_of_boxes_that_means_none_or_all_is_refused(keep):
    with pytest.raises(ValueError, match="max_per_img to 1 or more"):
        best_after_nms(*crowd(3, 1), dict(type="nms", iou_threshold=0.6), keep)
