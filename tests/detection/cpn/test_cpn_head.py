"""The head, detector and test over views of CPN, on a small hourglass."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmext.detection.cpn.decode import detect
from mmext.detection.cpn.proposals import propose
from mmext.detection.keypoints import ScaledCenterPad
from mmext.registry import MODELS

META = dict(batch_input_shape=(64, 80), img_shape=(64, 80), scale_factor=(1.0, 1.0))
LOSSES = {"loss_heatmap", "loss_offset", "loss_grouping", "loss_region"}
CHANNELS = (3, 3, 2, 2, 4, 8)


def objects(boxes, labels) -> InstanceData:
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.tensor(labels).long(),
    )


def losses_of(model, gts: list[InstanceData]) -> dict[str, list[torch.Tensor]]:
    outs = model(torch.randn(len(gts), 3, 64, 80), mode="tensor")
    return model.bbox_head.loss_by_feat(*outs, gts, [META] * len(gts))


def total(losses: dict[str, list[torch.Tensor]]) -> torch.Tensor:
    return sum(sum(values) for values in losses.values())


# ---- outputs and losses


@pytest.mark.parametrize("num_stacks", [1, 2])
@pytest.mark.parametrize("roi_form", ["hourglass", "dla"])
def test_outputs_and_gradients(make_model, num_stacks, roi_form):
    model = make_model(num_stacks, roi_form=roi_form)
    outs = model(torch.randn(2, 3, 64, 80), mode="tensor")
    assert [len(out) for out in outs] == [num_stacks] * 6
    assert tuple(out[0].shape[1] for out in outs) == CHANNELS
    assert {tuple(m.shape[-2:]) for out in outs for m in out} == {(16, 20)}
    losses = losses_of(model, [objects([[4, 4, 40, 50]], [1]), objects([], [])])
    assert set(losses) == LOSSES
    assert all(len(values) == num_stacks for values in losses.values())
    total(losses).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_corner_maps_do_not_learn_from_proposals(make_model):
    model = make_model()
    losses = losses_of(model, [objects([[4, 4, 40, 50]], [1])])
    sum(losses["loss_grouping"] + losses["loss_region"]).backward()
    assert all(p.grad is None for p in model.bbox_head.heats.parameters())
    assert all(p.grad is not None for p in model.bbox_head.regions.parameters())


@pytest.mark.parametrize("roi_form", ["hourglass", "dla"])
def test_scores_start_at_a_tenth(make_model, roi_form):
    head = make_model(roi_form=roi_form).bbox_head
    biases = [heat[-1].bias for heat in head.heats[0].values()]
    biases += [head.groupings[0].out.bias, head.regions[0].out.bias]
    for bias in biases:
        torch.testing.assert_close(bias.sigmoid(), torch.full_like(bias, 0.1), atol=1e-3, rtol=0)
    assert all(bool(o[-1].bias.any()) == (roi_form != "dla") for o in head.offsets[0].values())


def test_unknown_form(make_model):
    with pytest.raises(ValueError, match="'hourglass' or 'dla', got 'resnet'"):
        make_model(roi_form="resnet")


def test_number_of_maps(make_model):
    with pytest.raises(ValueError, match="CPNHead got 2 feature maps but has num_stacks=1"):
        make_model().bbox_head([torch.zeros(1, 8, 4, 4)] * 2)


def test_threshold_and_objects_decide_what_learns_classes(make_model):
    """With a threshold above 1 only the boxes of objects are left."""
    head = make_model().bbox_head.eval()
    maps = [[torch.randn(1, c, 16, 20)] for c in CHANNELS]
    *corners, labels = head.targets([objects([[4, 4, 40, 50]], [1])], [META], (16, 20))
    sampled = head.sample(head._propose(*(m[0] for m in maps[:2]), head.train_cfg), corners, labels)
    assert sampled.is_gt.sum() == 1
    head.train_cfg["grouping_thr"] = 1.1
    alone = sampled._replace(
        rois=sampled.rois[:1], labels=sampled.labels[:1], is_gt=sampled.is_gt[:1]
    )
    of_all = head.roi_losses(*maps[4:], sampled)["loss_region"][0]
    assert of_all == head.roi_losses(*maps[4:], alone)["loss_region"][0] > 0
    head.train_cfg["grouping_thr"] = 0.0
    assert head.roi_losses(*maps[4:], sampled)["loss_region"][0] > of_all


def test_the_second_stage_learns_from_the_pairs_of_the_last_stack(make_model):
    head = make_model(2).bbox_head.eval()
    maps = [[torch.randn(1, c, 16, 20) for _ in range(2)] for c in CHANNELS]
    gts = [objects([[4, 4, 40, 50]], [1])]
    losses = head.loss_by_feat(*maps, gts, [META])
    *corners, labels = head.targets(gts, [META], (16, 20))
    found = propose(maps[0][1], maps[1][1], num_peaks=10, kernel=3)
    expected = head.roi_losses(*maps[4:], head.sample(found, corners, labels))
    for name in ("loss_grouping", "loss_region"):
        assert losses[name] == expected[name]


@pytest.mark.parametrize(("min_radius", "cells"), [(0, 1), (1, 9), (2, 25)])
def test_bumps_have_a_least_radius(make_model, min_radius, cells):
    head = make_model(min_radius=min_radius).bbox_head
    # Small: a radius of half a cell. Large: one of three cells, which no least radius here changes.
    small, large = [20, 20, 26, 26], [20, 16, 72, 60]
    for box, expected in ((small, cells), (large, 49)):
        tl, *_ = head.targets([objects([box], [1])], [META], (16, 20))
        assert tl.heat.count_nonzero() == expected


# ---- bad input


@pytest.mark.parametrize(
    ("boxes", "labels", "count"),
    [
        ([], [], 0),
        ([[10, 10, 11, 11]], [0], 1),  # a single pixel
        ([[-50, -60, 500, 600]], [0], 1),
        ([[200, 200, 300, 300]], [0], 0),  # outside the image
        ([[10, 10, 10, 40]], [0], 0),  # no width
        ([[79.5, 63.5, 80, 64]], [1], 1),
        ([[10, 10, 30, 30]] * 3, [1, 1, 2], 3),
    ],
)
@pytest.mark.parametrize("plus_one", [True, False])
def test_unusual_objects(make_model, boxes, labels, count, plus_one):
    model = make_model(legacy_plus_one=plus_one)
    gts = [objects(boxes, labels)]
    *corners, found = model.bbox_head.targets(gts, [META], (16, 20))
    assert [len(t.cells) for t in corners] == [count] * 2
    assert len(found) == count
    loss = total(losses_of(model, gts))
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_two_thousand_objects(make_model):
    """The official code ends with an error at 129."""
    corners = torch.rand(2000, 2) * 50
    gts = InstanceData(
        bboxes=torch.cat((corners, corners + 1 + torch.rand(2000, 2) * 20), 1),
        labels=torch.randint(3, (2000,)),
    )
    assert total(losses_of(make_model(), [gts])).isfinite()


@pytest.mark.parametrize("boxes", [[], [[4, 4, 40, 50]]])
def test_no_proposals(make_model, boxes):
    """Bottom-right corners of classes that no top-left corner has."""
    model = make_model()
    outs = model(torch.randn(1, 3, 64, 80), mode="tensor")
    for heat, label in zip(outs[:2], (0, 2), strict=True):
        heat[0] = torch.full_like(heat[0], -100) + heat[0] * 0
        heat[0][:, label] += 100
    gts = [objects(boxes, [0] * len(boxes))]
    losses = model.bbox_head.loss_by_feat(*outs, gts, [META])
    total(losses).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    (result,) = model.bbox_head.eval().predict_by_feat(*outs, [META])
    assert result.bboxes.shape == (0, 4)
    assert len(result.scores) == len(result.labels) == 0


def test_labels_of_another_data_set(make_model):
    with pytest.raises(ValueError, match="num_classes"):
        losses_of(make_model(), [objects([[0, 0, 9, 9]], [3])])


@pytest.mark.parametrize("value", [0.0, 50.0])
def test_constant_maps(make_model, value):
    head = make_model().bbox_head.eval()
    maps = [[torch.full((2, c, 16, 20), value)] for c in CHANNELS]
    results = head.predict_by_feat(*maps, [META] * 2)
    for result in results:
        assert len(result.scores) <= 10
        assert result.bboxes.isfinite().all()
        assert ((result.scores > 0) & (result.scores <= 2)).all()


def test_a_map_smaller_than_the_peaks(make_model):
    head = make_model().bbox_head.eval()
    maps = [[torch.randn(1, c, 1, 2)] for c in CHANNELS]
    (result,) = head.predict_by_feat(*maps, [META])
    assert result.bboxes.shape[1] == 4


# ---- decoding


def crafted_maps(channels: tuple[int, ...] = CHANNELS) -> list[torch.Tensor]:
    """One object of class 1 from cell (2, 3) to cell (12, 13), with an offset."""
    # So little heat elsewhere that no pair of such cells moves the merged corners.
    maps = [torch.full((1, 3, 16, 20), -30.0) for _ in range(2)]
    maps += [torch.zeros(1, c, 16, 20) for c in channels[2:]]
    maps[0][0, 1, 3, 2] = maps[1][0, 1, 13, 12] = 2.0
    maps[2][0, :, 3, 2] = torch.tensor([0.25, 0.5])
    return maps


def test_an_object_by_hand(make_model):
    head = make_model().bbox_head.eval()
    for branch, score in ((head.groupings[0], 3.0), (head.regions[0], 1.0)):
        torch.nn.init.zeros_(branch.out.weight)
        torch.nn.init.constant_(branch.out.bias, score)
    (result,) = head.predict_by_feat(*([m] for m in crafted_maps()), [META])
    torch.testing.assert_close(result.bboxes[0], torch.tensor([9.0, 14, 48, 52]))
    assert result.labels[0] == 1
    corner, prob = torch.tensor([2.0, 1.0]).sigmoid()
    fused = (corner + 0.5) * (prob + 0.5) - 0.25
    assert result.scores[0].item() == pytest.approx(fused)
    torch.nn.init.constant_(head.groupings[0].out.bias, -3.0)  # no pair passes
    (below,) = head.predict_by_feat(*([m] for m in crafted_maps()), [META])
    assert below.scores[0].item() == pytest.approx(fused - 1)


def test_the_pixel_convention_reaches_suppression(make_model):
    head = make_model(legacy_plus_one=False).bbox_head.eval()
    head.test_cfg["nms"]["legacy"] = True
    with pytest.raises(ValueError, match="legacy_plus_one=True"):
        head.predict_by_feat(*([m] for m in crafted_maps()), [META])


def test_chunks_of_proposals_change_nothing(make_model, monkeypatch):
    branch = make_model().bbox_head.eval().regions[0]
    maps, rois = torch.randn(2, 8, 16, 20), torch.rand(9, 5)
    rois[:, 0], rois[:, 3:] = (rois[:, 0] * 2).floor(), rois[:, 3:] * 9 + 2
    whole = branch.classify(maps, rois)
    monkeypatch.setattr("mmext.detection.cpn.roi_branch._ROIS_AT_ONCE", 4)
    torch.testing.assert_close(branch.classify(maps, rois), whole)


def test_channels_last_maps_are_pooled_where_the_proposals_are(make_model):
    branch = make_model().bbox_head.eval().regions[0]
    maps, rois = torch.randn(2, 8, 16, 20), torch.rand(9, 5)
    rois[:, 0], rois[:, 3:] = (rois[:, 0] * 2).floor(), rois[:, 3:] * 9 + 2
    scores = branch.classify(maps.contiguous(memory_format=torch.channels_last), rois)
    torch.testing.assert_close(scores, branch.classify(maps, rois))


# ---- several views


def view_of(image: np.ndarray, scale: float, flip: bool) -> tuple[torch.Tensor, DetDataSample]:
    out = ScaledCenterPad(scale=scale, pad_bits=15)(dict(img=image))
    if flip:
        out["img"] = out["img"][:, ::-1]
    sample = DetDataSample()
    keys = ("img_shape", "border", "scale_factor")
    sample.set_metainfo({k: out[k] for k in keys} | dict(flip=flip, flip_direction="horizontal"))
    return torch.from_numpy(out["img"].copy()).permute(2, 0, 1), sample


def test_tta_compares_and_pools_views(make_model):
    model = make_model().eval()
    torch.nn.init.ones_(model.bbox_head.groupings[0].out.bias)  # more than the threshold
    tta = MODELS.build(dict(type="mmext.CPNTTA", module=model, tta_cfg=dict(max_per_img=7)))
    image = np.random.default_rng(0).integers(0, 255, (60, 76, 3)).astype(np.uint8)
    views = [view_of(image, scale, flip) for scale in (0.8, 1.0) for flip in (False, True)]
    data = dict(inputs=[[v[0]] for v in views], data_samples=[[v[1]] for v in views])
    with torch.no_grad():
        (sample,) = tta.test_step(data)
        expected = []
        for inputs, view in views:
            batch = model.data_preprocessor(dict(inputs=[inputs], data_samples=[view]))
            expected += model.candidates(batch["inputs"], batch["data_samples"])
    settings = {key: model.bbox_head.test_cfg[key] for key in ("flip_consistency", "nms")}
    merged = detect(expected, [False, True] * 2, max_per_img=7, **settings)
    assert torch.equal(sample.pred_instances.bboxes, merged.bboxes)
    assert torch.equal(sample.pred_instances.scores, merged.scores)
    without = detect(
        expected, [False, True] * 2, max_per_img=7, **settings | dict(flip_consistency=None)
    )
    assert without.scores[0] < merged.scores[0]


def test_a_single_view_is_the_ordinary_test(make_model):
    model = make_model().eval()
    torch.nn.init.ones_(model.bbox_head.groupings[0].out.bias)
    tta = MODELS.build(dict(type="mmext.CPNTTA", module=model))
    inputs, sample = view_of(np.full((60, 76, 3), 90, np.uint8), 1.0, False)
    with torch.no_grad():
        (plain,) = model.test_step(dict(inputs=[inputs], data_samples=[deepcopy(sample)]))
        (merged,) = tta.test_step(dict(inputs=[[inputs]], data_samples=[[sample]]))
    assert len(plain.pred_instances.scores) > 0
    assert torch.equal(plain.pred_instances.scores, merged.pred_instances.scores)
    assert torch.equal(plain.pred_instances.bboxes, merged.pred_instances.bboxes)
