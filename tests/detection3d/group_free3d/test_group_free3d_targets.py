"""Coder, targets and losses on cases that can be computed by hand."""

import math

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from torch.nn import functional

from mmext.detection3d import GroupFree3DLoss
from mmext.detection3d.group_free3d.coder import BoxCoder, angle_to_bin, bin_to_angle
from mmext.detection3d.group_free3d.losses import sigmoid_focal_loss, stage_losses
from mmext.detection3d.group_free3d.prediction import Stage
from mmext.detection3d.group_free3d.targets import (
    GroundTruth,
    Targets,
    candidate_targets,
    collect,
    seed_targets,
)
from mmext.detection3d.structures import Boxes3D, Det3DSample

MEANS = [[2.0, 1.0, 0.5], [0.5, 0.5, 1.0]]


@pytest.mark.parametrize(
    ("degrees", "number", "residual"),
    [(0, 0, 0), (14, 0, 14), (16, 1, -14), (-16, 11, 14), (350, 0, -10), (-180, 6, 0), (725, 0, 5)],
)
def test_bins_by_hand(degrees, number, residual):
    found, rest = angle_to_bin(torch.tensor(math.radians(degrees), dtype=torch.float64), 12)
    assert found == number
    assert math.degrees(rest) == pytest.approx(residual)


@pytest.mark.parametrize("bins", [1, 12])
def test_bins_undo(bins):
    angle = torch.linspace(-3.1, 3.14, 999, dtype=torch.float64)
    number, residual = angle_to_bin(angle, bins)
    assert 0 <= number.min() <= number.max() < bins
    assert residual.abs().max() <= math.pi / bins + 1e-9
    torch.testing.assert_close(bin_to_angle(number, residual, bins), angle)


def test_bins_of_a_hair_below_nothing():
    number, residual = angle_to_bin(torch.tensor([-1e-9, -math.pi / 12]), 12)
    assert number.max() < 12
    assert residual.abs().max() <= math.pi / 12 + 1e-6


def test_yaw_is_minus_the_heading():
    coder = BoxCoder(12)
    scores, residuals = torch.zeros(1, 1, 12), torch.zeros(1, 1, 12)
    scores[..., 3], residuals[..., 3] = 1, 0.5
    yaw = coder.decode_yaw(scores, residuals)
    assert math.degrees(yaw) == pytest.approx(-(90 + 7.5), abs=1e-4)


def test_sizes_of_classes():
    coder = BoxCoder(1, MEANS).double()
    size = torch.tensor([[[2.2, 0.9, 0.5]]], dtype=torch.float64)
    residual = coder.encode_size(size, torch.tensor([[0]]))
    torch.testing.assert_close(residual, torch.tensor([[[0.1, -0.1, 0.0]]]).double())
    residuals = torch.stack((residual, torch.full_like(residual, 9.0)), 2)
    scores = torch.tensor([[[0.1, 0.0]]])
    for decode in (coder.size, coder.decode_size):
        torch.testing.assert_close(decode(scores, residuals), size)


def truth_of(boxes, labels, instances, valid=None):
    boxes = torch.tensor([boxes], dtype=torch.float64)
    labels = torch.tensor([labels])
    valid = torch.ones_like(labels, dtype=torch.bool) if valid is None else torch.tensor([valid])
    return GroundTruth(boxes, labels, valid, torch.tensor([instances]))


def on_a_line(xs):
    return torch.tensor([[[x, 0.0, 0.0] for x in xs]], dtype=torch.float64)


def test_nearest_seeds_of_each_object():
    # Distances count in sizes: along x the first object is 10 m long.
    boxes = [[0, 0, 0, 10, 1, 1, 0], [100, 0, 0, 1, 1, 1, 0]]
    xyz = on_a_line([0.4, 0.3, 0.2, 0.1, 4.0, 100.1, 100.2, 0.0])
    xyz[0, 1, 1] = 3.0  # 3 sizes to the side: further than 4 m along
    instances = torch.tensor([[0, 0, 0, 0, 0, 1, 1, -1]])
    truth = truth_of(boxes, [0, 1], [0])
    positive = seed_targets(xyz, instances, truth, topk=4)
    assert positive.tolist() == [[True, False, True, True, True, True, True, False]]


@pytest.mark.parametrize("strict", [True, False])
def test_objects_with_few_seeds(strict):
    boxes = [[0, 0, 0, 1, 1, 1, 0], [100, 0, 0, 1, 1, 1, 0]]
    xyz = on_a_line([9.0, 0.6, 0.5, 0.4, 0.3, 0.2, 100.0])
    instances = torch.tensor([[-1, 0, 0, 0, 0, 0, 1]])
    positive = seed_targets(xyz, instances, truth_of(boxes, [0, 1], [0]), 4, strict)
    # The second object has one seed. Filled up with the first three, seed 1 becomes positive.
    assert positive.tolist() == [[False, not strict, True, True, True, True, True]]


def test_objects_that_fill_up_have_no_seeds():
    xyz, instances = on_a_line([0.0, 0.1]), torch.tensor([[0, -1]])
    truth = truth_of([[0] * 3 + [1] * 3 + [0]] * 2, [0, 0], [0], valid=[True, False])
    for strict in (True, False):
        assert seed_targets(xyz, instances, truth, 4, strict).tolist() == [[True, False]]


def test_targets_of_candidates():
    boxes = [[1, 2, 3, 2.2, 1, 0.5, math.radians(-40)], [4, 5, 6, 1, 1, 1, 0]]
    truth = truth_of(boxes, [0, 1], [0])
    targets = candidate_targets(torch.tensor([[1, -1, 0]]), truth, BoxCoder(12, MEANS).double())
    assert targets.positive.tolist() == [[True, False, True]]
    assert targets.center[0, [0, 2]].tolist() == [[4, 5, 6], [1, 2, 3]]
    assert targets.labels[0, [0, 2]].tolist() == [1, 0]
    assert targets.heading_bin[0, 2] == 1  # heading 40 degrees: 10 above the middle of the bin
    assert targets.heading_residual[0, 2].item() == pytest.approx(10 / 15)
    torch.testing.assert_close(targets.size_residual[0, 2, 0].item(), 0.1)


def test_objects_of_scenes_are_filled_up():
    samples = []
    for count in (0, 2):
        sample = Det3DSample()
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=Boxes3D(torch.ones(count, 7)), labels_3d=torch.ones(count).long()
        )
        sample.gt_point_instances = torch.full((5,), count - 1)
        samples.append(sample)
    truth = collect(samples, torch.zeros(2, 5, 3))
    assert truth.valid.tolist() == [[False, False], [True, True]]
    assert truth.boxes.sum((1, 2)).tolist() == [0, 14]
    assert truth.instances.tolist() == [[-1] * 5, [1] * 5]
    assert collect(samples[:1], torch.zeros(1, 5, 3)).boxes.shape == (1, 1, 7)


def test_focal_loss_by_hand():
    logits = torch.tensor([0.0, math.log(3), -math.log(3)], dtype=torch.float64)
    loss = sigmoid_focal_loss(logits, torch.tensor([True, True, False]))
    expected = [
        0.25 * 0.25 * math.log(2),
        0.25 * 0.0625 * math.log(4 / 3),
        0.75 * 0.0625 * math.log(4 / 3),
    ]
    np.testing.assert_allclose(loss, expected)
    assert sigmoid_focal_loss(torch.tensor([100.0, -100.0]), torch.tensor([0, 1])).isfinite().all()


def numpy_losses(stage, targets, center_delta, size_delta, heading_delta):
    """The same once more, candidate by candidate."""

    def sl1(error, delta):
        error = abs(error)
        return 0.5 * error**2 / delta if error < delta else error - 0.5 * delta

    def entropy(scores, label):
        return np.log(np.exp(scores).sum()) - scores[label]

    sums = dict.fromkeys(
        ("center", "heading_class", "heading_residual", "semantic", "size_residual"), 0.0
    )
    objectness, count = 0.0, 0
    batch, number = targets.positive.shape
    for b in range(batch):
        for o in range(number):
            positive = bool(targets.positive[b, o])
            p = 1 / (1 + math.exp(-stage.objectness[b, o]))
            hit, alpha = (p, 0.25) if positive else (1 - p, 0.75)
            objectness -= alpha * (1 - hit) ** 2 * math.log(hit) / (batch * number)
            if not positive:
                continue
            count += 1
            h, k = int(targets.heading_bin[b, o]), int(targets.labels[b, o])
            for axis in range(3):
                error = float(stage.center[b, o, axis] - targets.center[b, o, axis])
                sums["center"] += sl1(error, center_delta)
                size = float(stage.size[b, o, axis] - targets.size[b, o, axis])
                sums["size_residual"] += size_delta * sl1(size, size_delta)
            turned = float(stage.heading_residuals[b, o, h] - targets.heading_residual[b, o])
            sums["heading_residual"] += heading_delta * sl1(turned, heading_delta)
            sums["heading_class"] += entropy(stage.heading_scores[b, o].numpy(), h)
            sums["semantic"] += entropy(stage.semantic[b, o].numpy(), k)
    count = float(np.float32(count) + np.float32(1e-6))
    return {name: value / count for name, value in sums.items()} | dict(objectness=objectness)


def random_stage_and_targets(batch=2, number=50, bins=12, classes=10):
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(batch, number, *shape, generator=random, dtype=torch.float64)

    def below(count):
        return torch.randint(count, (batch, number), generator=random)

    stage = Stage(normal(), normal(3), normal(bins), normal(bins), normal(3), normal(classes))
    targets = Targets(
        below(2).bool(), normal(3), normal(3), None, below(bins), normal(), below(classes)
    )
    return stage, targets


def test_losses_of_the_form_of_sun_rgbd():
    stage, targets = random_stage_and_targets()
    deltas = dict(center_delta=1 / 9, size_delta=0.0625, heading_delta=0.04)
    losses = stage_losses(stage, targets, **deltas)
    expected = numpy_losses(stage, targets, **deltas)
    assert losses.keys() == expected.keys()
    for name, value in losses.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-9), name


def test_total_of_several_stages():
    stage, targets = random_stage_and_targets()
    deltas = dict(center_delta=1 / 9, size_delta=0.0625, heading_delta=0.04)
    module = GroupFree3DLoss(seed_weight=0.2, objectness_weight=0.4, **deltas)
    logits = torch.linspace(-2, 2, 64, dtype=torch.float64).view(2, 32)
    losses = module([stage] * 3, targets, logits, logits > 1)
    one = numpy_losses(stage, targets, **deltas)
    stages = 0.4 * one["objectness"] + one["center"] + 0.1 * one["heading_class"]
    stages += one["heading_residual"] + one["size_residual"] + 0.1 * one["semantic"]
    focal = sigmoid_focal_loss(logits, logits > 1).mean().item()
    total = sum(sum(v) if isinstance(v, list) else v for v in losses.values())
    assert total.item() == pytest.approx(10 * (0.2 * focal + stages), rel=1e-9)


def test_no_positive_candidates():
    stage, targets = random_stage_and_targets()
    targets = targets._replace(positive=torch.zeros_like(targets.positive))
    losses = stage_losses(stage, targets, center_delta=1, size_delta=1, heading_delta=1)
    assert losses.pop("objectness") > 0
    assert all(value == 0 for value in losses.values())


def test_size_is_learned_at_the_class_of_the_object():
    stage, targets = random_stage_and_targets(classes=2)
    coder = BoxCoder(12, MEANS).double()
    residuals = torch.zeros(2, 50, 2, 3, dtype=torch.float64)
    target = coder.encode_size(targets.size, targets.labels)
    index = targets.labels[..., None, None].expand(-1, -1, 1, 3)
    residuals = residuals.scatter(2, index, target[:, :, None])
    stage = stage._replace(size_scores=stage.semantic, size_residuals=residuals)
    losses = stage_losses(
        stage, targets._replace(size_residual=target), center_delta=1, size_delta=1, heading_delta=1
    )
    assert losses["size_residual"] == 0
    positive = targets.positive
    entropy = functional.cross_entropy(stage.semantic[positive], targets.labels[positive])
    torch.testing.assert_close(losses["size_class"], entropy, rtol=1e-6, atol=0)
