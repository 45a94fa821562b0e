"""The detector on small scenes: sampling, bad input, ensembles, single scenes."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from tiny_rooms import tiny_detector, tiny_scenes

from mmext.detection3d import PointNet2
from mmext.detection3d.group_free3d.decode import MIN_SIDE, decode_stage, decode_stages, detect
from mmext.detection3d.structures import Boxes3D, Det3DSample
from mmext.ops import furthest_point_sample


@pytest.mark.parametrize("skip_origin", [False, True])
def test_one_sampling_is_as_good_as_four(skip_origin):
    points = torch.rand(2, 300, 3) * 2 - 1
    points[:, 20:60] *= 0.01  # by the origin
    points[1, 150:] = points[1, :150]  # each point twice
    net = PointNet2(
        num_points=(200, 100, 60, 30),
        num_samples=(4,) * 4,
        sa_channels=((8,),) * 4,
        fp_channels=8,
        out_channels=8,
        skip_origin=skip_origin,
    )
    seeds = net.eval()(points)
    level = seeds.centres
    for count in net.num_points[1:]:
        again = furthest_point_sample(level, count, skip_origin=skip_origin)
        level = level.gather(1, again[..., None].expand(-1, -1, 3))
        assert torch.equal(level, seeds.centres[:, :count])
    taken = points.gather(1, seeds.indices[..., None].expand(-1, -1, 3))
    assert torch.equal(taken, seeds.xyz)
    near = (seeds.centres[:, 1:].square().sum(-1) <= 1e-3).any()
    assert bool(near) is not skip_origin


def test_options_that_cannot_be():
    with pytest.raises(ValueError, match="num_points"):
        PointNet2(num_points=(10, 20, 5, 5))
    with pytest.raises(ValueError, match=r"PointNet2\.radii"):
        PointNet2(radii=(1.0,))
    with pytest.raises(ValueError, match="in_channels"):
        PointNet2(in_channels=2)
    for wrong in (
        dict(sampling="best"),
        dict(mean_sizes=[[1, 1, 1]]),
        dict(test_cfg=dict(ensemble="first")),
        dict(test_cfg=dict(nms=1)),
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            tiny_detector(**wrong)


@pytest.mark.parametrize("form", ["scannet", "sunrgbd"])
@pytest.mark.parametrize("sampling", ["kps", "fps"])
def test_learns_and_detects(form, sampling):
    points, samples = tiny_scenes()
    model = tiny_detector(form, sampling=sampling)
    losses = model(points, samples, mode="loss")
    assert ("loss_seeds" in losses) is (sampling == "kps")
    model.parse_losses(losses)[0].backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    for sample in model.eval()(points, samples, mode="predict"):
        found = sample.pred_instances_3d
        assert len(found.scores_3d) == len(found.labels_3d) == len(found.bboxes_3d)
        assert found.bboxes_3d.tensor.isfinite().all()
        assert (found.bboxes_3d.sizes >= MIN_SIDE).all()


def test_candidates_of_kps_are_by_falling_score():
    out = tiny_detector().eval()(tiny_scenes()[0])
    scores = out.seed_logits.gather(1, out.candidates.indices)
    assert (scores.diff() <= 0).all()
    assert torch.equal(scores[:, -1], out.seed_logits.topk(scores.shape[1]).values[:, -1])


def test_fewer_points_than_centres():
    points, samples = tiny_scenes(num_points=20)
    model = tiny_detector()
    assert model.backbone.num_points[0] > 20
    total, _ = model.parse_losses(model(points, samples, mode="loss"))
    assert total.isfinite()
    model.eval()(points, samples, mode="predict")


def test_scenes_without_objects():
    points, samples = tiny_scenes()
    for sample in samples:
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=Boxes3D(torch.zeros(0, 7)), labels_3d=torch.zeros(0, dtype=torch.long)
        )
        sample.gt_point_instances = torch.full_like(sample.gt_point_instances, -1)
    model = tiny_detector()
    losses = model(points, samples, mode="loss")
    assert all(value == 0 for value in losses["loss_center"])
    total, _ = model.parse_losses(losses)
    assert total > 0
    total.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_batch_of_one():
    points, samples = tiny_scenes()
    total, _ = (model := tiny_detector()).parse_losses(model(points[:1], samples[:1], mode="loss"))
    assert total.isfinite()


def test_scenes_do_not_see_each_other():
    points, _ = tiny_scenes()
    model = tiny_detector().double().eval()
    both = model(points.double(), mode="predict")
    for scene, sample in zip(points.double(), both, strict=True):
        alone = model(scene[None], mode="predict")[0].pred_instances_3d
        torch.testing.assert_close(
            alone.bboxes_3d.tensor, sample.pred_instances_3d.bboxes_3d.tensor
        )


def test_points_that_are_not_finite():
    points, samples = tiny_scenes()
    points[1, 3, 0], points[1, 5, 2] = torch.nan, torch.inf
    for mode in ("loss", "predict"):
        with pytest.raises(ValueError, match="scene room1 has 2 points with NaN"):
            tiny_detector()(points, samples, mode=mode)


def test_labels_that_do_not_fit():
    points, samples = tiny_scenes()
    model = tiny_detector()
    good = samples[0].gt_point_instances
    samples[0].gt_point_instances = good[:-1]
    with pytest.raises(ValueError, match=r"scene room0 .* sample points and their labels together"):
        model(points, samples, mode="loss")
    samples[0].gt_point_instances = good.masked_fill(good == 0, 7)
    with pytest.raises(ValueError, match=r"scene room0 .* from -1 to 7, but 2 objects"):
        model(points, samples, mode="loss")
    with pytest.raises(ValueError, match="has no gt_instances_3d"):
        model(points, [Det3DSample() for _ in points], mode="loss")
    with pytest.raises(ValueError, match="expected 'tensor', 'loss' or 'predict'"):
        model(points, mode="train")


def test_shape_of_points():
    with pytest.raises(ValueError, match=r"points of shape \(2, 64, 4\)"):
        tiny_detector()(torch.rand(2, 64, 4))
    with pytest.raises(ValueError, match="num_candidates is 9999"):
        tiny_detector(num_candidates=9999)(tiny_scenes()[0])


def test_ensembles():
    points, samples = tiny_scenes()
    also = ("last_three", "all")
    model = tiny_detector(decoder=dict(num_layers=3), test_cfg=dict(also=also, min_points=0))
    model.eval()
    out = model(points)
    counts = {name: decode_stages(out.stages, model.coder, name).boxes.shape[1] for name in also}
    assert counts == dict(last_three=3 * model.num_candidates, all=4 * model.num_candidates)
    first = decode_stages(out.stages, model.coder, "all").boxes[:, : model.num_candidates]
    assert torch.equal(first, decode_stage(out.stages[0], model.coder).boxes)
    (sample, _) = model(points, samples, mode="predict")
    assert tuple(sample.pred_ensembles_3d) == also
    expected = model.detect(out, points, "all")[0].scores_3d
    torch.testing.assert_close(sample.pred_ensembles_3d["all"].scores_3d, expected)


def box(x, size=1.0):
    return [x, 0.0, 0.0, size, size, size, 0.0]


@pytest.mark.parametrize("per_class", [True, False])
def test_detections_by_hand(per_class):
    boxes = torch.tensor([box(0), box(0.1), box(0.2), box(5), box(9)])
    objectness = torch.tensor([0.5, 0.9, 0.7, 0.8, 0.6])
    classes = torch.tensor([[0.8, 0.2], [0.7, 0.3], [0.1, 0.9], [0.6, 0.4], [0.5, 0.5]])
    # Five points in each box but the last, which has four.
    points = torch.tensor([[0.0, 0, 0]] * 5 + [[5.0, 0, 0]] * 5 + [[9.0, 0, 0]] * 4)
    found = detect(boxes, objectness, classes, points, per_class_proposal=per_class)
    # The first box loses to the second, which is of its class; the third is of another.
    if per_class:
        assert found.labels_3d.tolist() == [0, 0, 0, 1, 1, 1]
        expected = [0.9 * 0.7, 0.7 * 0.1, 0.8 * 0.6, 0.9 * 0.3, 0.7 * 0.9, 0.8 * 0.4]
        kept = torch.tensor([box(0.1), box(0.2), box(5)] * 2)
    else:
        assert found.labels_3d.tolist() == [0, 0, 1]
        expected, kept = [0.9, 0.8, 0.7], torch.tensor([box(0.1), box(5), box(0.2)])
    np.testing.assert_allclose(found.scores_3d, expected, rtol=1e-6)
    assert torch.equal(found.bboxes_3d.tensor, kept)


def test_nothing_is_left():
    boxes = torch.tensor([box(0), box(1)])
    scores, classes = torch.tensor([0.5, 0.5]), torch.full((2, 3), 1 / 3)
    for points, options in (
        (torch.full((9, 3), 50.0), {}),
        (torch.zeros(9, 3), dict(score_thr=0.5)),
    ):
        found = detect(boxes, scores, classes, points, **options)
        assert len(found.bboxes_3d) == len(found.scores_3d) == len(found.labels_3d) == 0


def test_initialisation():
    model = tiny_detector()
    model.init_weights()
    conv = model.backbone.sa[1].mlp[1].conv.weight  # normal, variance 2 / inputs
    assert conv.std().item() == pytest.approx((2 / conv.shape[1]) ** 0.5, rel=0.2)
    linear = model.decoder.layers[0].linear1.weight  # uniform, within sqrt(6 / (inputs + outputs))
    limit = (6 / sum(linear.shape)) ** 0.5
    assert 0.9 * limit < linear.abs().max() <= limit
