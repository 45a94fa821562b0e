"""Both detectors learn two small rooms by heart; before, they find nothing."""

import pytest
import torch
from tiny_rooms import tiny_detector, tiny_scenes

from mmext.detection3d import GroupFree3D, HyperDet3D
from mmext.ops import box3d_iou

pytestmark = pytest.mark.learn
STEPS = 250


def found(model, points, samples):
    """Return how many objects the best detection of their class overlaps by more than half."""
    hits = 0
    for sample in model.eval()(points, samples, mode="predict"):
        objects, pred = sample.gt_instances_3d, sample.pred_instances_3d
        iou = box3d_iou(objects.bboxes_3d.tensor, pred.bboxes_3d.tensor)
        for overlaps, label in zip(iou, objects.labels_3d, strict=True):
            scores = torch.where(pred.labels_3d == label, pred.scores_3d, -1)
            hits += bool(overlaps[scores.argmax()] > 0.5)
    return hits


@pytest.mark.parametrize("kind", [GroupFree3D, HyperDet3D])
@pytest.mark.parametrize("form", ["scannet", "sunrgbd"])
def test_learns_by_heart(kind, form):
    points, samples = tiny_scenes(512)
    # Published weights of objectness are for many epochs.
    loss = dict(type="mmext.GroupFree3DLoss", objectness_weight=4.0)
    model = tiny_detector(form, kind, test_cfg=dict(min_points=0), loss=loss)
    model.init_weights()
    untrained = found(model, points, samples)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=STEPS)
    model.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        model.parse_losses(model(points, samples, mode="loss"))[0].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    assert untrained <= 1
    assert found(model, points, samples) == 4
