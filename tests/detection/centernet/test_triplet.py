"""The triplet head, detector and test over views, on a small hourglass and by hand."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from mmdet.models.utils import gaussian_radius as correct_radius
from mmdet.structures import DetDataSample
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mmext.detection.centernet.triplet_decode import (
    TripletCandidates,
    check_centers,
    detect_triplets,
    to_image,
)
from mmext.detection.centernet.triplet_losses import pull_push_loss
from mmext.detection.keypoints import ScaledCenterPad
from mmext.registry import MODELS

TEST_CFG = dict(
    num_peaks=20,
    kernel=3,
    max_tag_distance=0.5,
    num_pairs=100,
    center_check=dict(),
    nms=dict(),
    max_per_img=10,
)
CHECKED = dict(center_check=dict(), nms=dict(), max_per_img=100)
META = dict(batch_input_shape=(64, 80), img_shape=(64, 80), scale_factor=(1.0, 1.0))
LOSSES = {"loss_heatmap", "loss_pull", "loss_push", "loss_offset"}


@pytest.fixture
def make_model():
    """Build a detector with a small hourglass of some stacks."""

    def make(num_stacks: int = 1, **head):
        init_default_scope("mmdet")
        torch.manual_seed(0)
        model = MODELS.build(
            dict(
                type="mmext.CenterNetTriplet",
                data_preprocessor=dict(type="DetDataPreprocessor"),
                backbone=dict(
                    type="HourglassNet",
                    num_stacks=num_stacks,
                    downsample_times=1,
                    stage_channels=(8, 8),
                    stage_blocks=(1, 1),
                    feat_channel=8,
                ),
                bbox_head=dict(
                    type="mmext.CenterNetTripletHead",
                    num_classes=3,
                    in_channels=8,
                    feat_channels=8,
                    pool_channels=8,
                    num_stacks=num_stacks,
                    **head,
                ),
                test_cfg=deepcopy(TEST_CFG),
            )
        )
        model.init_weights()
        return model

    return make


def objects(boxes, labels) -> InstanceData:
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.tensor(labels).long(),
    )


def candidates(boxes, labels, centers, center_labels, scores=None) -> TripletCandidates:
    count, centers = len(boxes), torch.tensor(centers, dtype=torch.float32).view(-1, 2)
    scores = torch.linspace(0.9, 0.5, count) if scores is None else torch.tensor(scores)
    return TripletCandidates(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        scores,
        scores[:, None].repeat(1, 2),
        torch.tensor(labels),
        centers,
        torch.linspace(0.6, 0.3, len(centers)),
        torch.tensor(center_labels),
    )


# ---- forward and losses


@pytest.mark.parametrize("num_stacks", [1, 2])
def test_outputs_and_gradients(make_model, num_stacks):
    model = make_model(num_stacks)
    outs = model(torch.randn(2, 3, 64, 80), mode="tensor")
    assert [len(out) for out in outs] == [num_stacks] * 8
    assert [out[0].shape[1] for out in outs] == [3, 3, 3, 1, 1, 2, 2, 2]
    assert {tuple(m.shape[-2:]) for out in outs for m in out} == {(16, 20)}
    losses = model.bbox_head.loss_by_feat(
        *outs, [objects([[4, 4, 40, 50]], [1]), objects([], [])], [META] * 2
    )
    assert set(losses) == LOSSES
    assert all(len(values) == num_stacks for values in losses.values())
    sum(sum(values) for values in losses.values()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_stacks_share_the_loss(make_model):
    head = make_model(2).bbox_head
    maps = head.forward_stack(torch.randn(1, 8, 16, 20), 0)
    gts = [objects([[4, 4, 40, 50], [0, 0, 9, 9]], [1, 1])]
    two = head.loss_by_feat(*([m, m] for m in maps), gts, [META])
    head.num_stacks = 1
    one = head.loss_by_feat(*([m] for m in maps), gts, [META])
    for name in LOSSES:
        torch.testing.assert_close(sum(two[name]), one[name][0])


def test_number_of_maps(make_model):
    with pytest.raises(ValueError, match="num_stacks=1"):
        make_model().bbox_head([torch.zeros(1, 8, 4, 4)] * 2)


def test_heat_starts_at_a_tenth(make_model):
    head = make_model().bbox_head
    for heat in head.heats[0].values():
        torch.testing.assert_close(
            heat[-1].bias.sigmoid(), torch.full((3,), 0.1), atol=1e-3, rtol=0
        )


@pytest.mark.parametrize("form", ["legacy", "correct"])
def test_targets_by_hand(make_model, form):
    head = make_model(radius_form=form).bbox_head
    tl, br, ct = head.targets([objects([[5, 6, 42, 51]], [2])], [META], (16, 20))
    assert tl.cells.tolist() == [[1, 1]]
    assert br.cells.tolist() == [[10, 12]]
    assert ct.cells.tolist() == [[5, 7]]
    torch.testing.assert_close(tl.offsets.float(), torch.tensor([[0.25, 0.5]]))
    torch.testing.assert_close(ct.offsets.float(), torch.tensor([[0.875, 0.125]]))
    # Of 9.25 x 11.25 cells, rounded up. Legacy: (-30.8 + sqrt(30.8^2 + 4 * 2.8 * 36)) / 2 = 2.98.
    radius = int(correct_radius((10, 12), 0.7)) if form == "correct" else 2
    for target, divisor in ((tl, 6), (br, 6), (ct, 5)):
        (x, y), sigma = target.cells[0].tolist(), (2 * radius + 1) / divisor
        beside = np.exp(-1 / (2 * sigma**2)) if radius else 0
        assert target.heat[0, 2, y, x + 1].item() == pytest.approx(beside)
        assert target.heat[0, :2].abs().sum() == 0
        assert target.heat[0, 2].max() == target.heat[0, 2, y, x] == 1


def test_pull_and_push_by_hand():
    tl, br = torch.tensor([[0.0, 1.0, 9.0]]), torch.tensor([[0.5, 0.5, 9.0]])
    mask = torch.tensor([[True, True, False]])
    pull, push = pull_push_loss(tl, br, mask)
    assert pull.item() == pytest.approx((4 * 0.25**2) / 2, rel=1e-3)
    # Means .25 and .75: two ordered pairs of 1 - .5, over n (n - 1) = 2, less 2 / n / 2 for each.
    assert push.item() == pytest.approx((2 * (0.5 - 0.5) + 2 * (1 - 0.5)) / 2, rel=1e-3)


# ---- bad input


@pytest.mark.parametrize(
    ("boxes", "labels", "count"),
    [
        ([], [], 0),
        ([[10, 10, 11, 11]], [0], 1),
        ([[-50, -60, 500, 600]], [0], 1),
        ([[200, 200, 300, 300]], [0], 0),  # outside the image
        ([[10, 10, 10, 40]], [0], 0),  # no width
        ([[79.5, 63.5, 80, 64]], [1], 1),
    ],
)
def test_unusual_objects(make_model, boxes, labels, count):
    model = make_model()
    outs = model(torch.randn(1, 3, 64, 80), mode="tensor")
    gts = [objects(boxes, labels)]
    targets = model.bbox_head.targets(gts, [META], (16, 20))
    assert [len(t.cells) for t in targets] == [count] * 3
    assert all(((t.offsets >= 0) & (t.offsets <= 1)).all() for t in targets)
    losses = model.bbox_head.loss_by_feat(*outs, gts, [META])
    total = sum(values[0] for values in losses.values())
    total.backward()
    assert total.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_two_thousand_objects(make_model):
    model = make_model()
    corners = torch.rand(2000, 2) * 50
    gts = InstanceData(
        bboxes=torch.cat((corners, corners + 1 + torch.rand(2000, 2) * 20), 1),
        labels=torch.randint(3, (2000,)),
    )
    losses = model.bbox_head.loss_by_feat(*model(torch.randn(1, 3, 64, 80)), [gts], [META])
    assert all(values[0].isfinite() for values in losses.values())


def test_labels_of_another_data_set(make_model):
    head = make_model().bbox_head
    with pytest.raises(ValueError, match="num_classes"):
        head.targets([objects([[0, 0, 9, 9]], [3])], [META], (16, 20))


def test_constant_maps(make_model):
    head = make_model().bbox_head
    maps = [[torch.zeros(1, c, 16, 20)] for c in (3, 3, 3, 1, 1, 2, 2, 2)]
    (result,) = head.predict_by_feat(*maps, [META])
    assert len(result.scores) <= 10
    assert result.bboxes.isfinite().all()
    assert ((result.scores > 0) & (result.scores <= 0.5)).all()


def test_a_map_smaller_than_the_peaks(make_model):
    head = make_model().bbox_head
    maps = [[torch.randn(1, c, 1, 2)] for c in (3, 3, 3, 1, 1, 2, 2, 2)]
    (result,) = head.predict_by_feat(*maps, [META])
    assert result.bboxes.shape[1] == 4


# ---- decoding


def peak(maps: torch.Tensor, channel: int, x: int, y: int, value: float) -> None:
    maps[0, channel, y, x] = value


def test_an_object_by_hand(make_model):
    head = make_model().bbox_head
    maps = [torch.full((1, 3, 16, 20), -9.0) for _ in range(3)]
    maps += [torch.zeros(1, c, 16, 20) for c in (1, 1, 2, 2, 2)]
    for heat, (x, y) in zip(maps[:3], ((2, 3), (12, 13), (7, 8)), strict=True):
        peak(heat, 1, x, y, 2.0)
    maps[3][0, 0, 3, 2], maps[4][0, 0, 13, 12] = 1.0, 1.4
    maps[5][0, :, 3, 2] = torch.tensor([0.25, 0.5])
    (result,) = head.predict_by_feat(*([m] for m in maps), [META])
    best = result.bboxes[0]
    assert best.tolist() == [9, 14, 48, 52]
    assert result.labels[0] == 1
    assert result.scores[0].item() == pytest.approx(torch.tensor(2.0).sigmoid().item())
    maps[4][0, 0, 13, 12] = 1.6  # embeddings too far apart
    (apart,) = head.predict_by_feat(*([m] for m in maps), [META])
    assert apart.scores.max() < 0.5 if len(apart.scores) else True


@pytest.mark.parametrize(
    ("side", "place", "found"),
    [
        (150, 50.1, True),  # 22500 px^2 is small: the middle third
        (150, 50.0, False),  # on the edge
        (150, 99.9, True),
        (150, 100.0, False),
        (151, 60.3, False),  # large: the middle fifth, from 60.4 to 90.6
        (151, 60.5, True),
        (151, 90.5, True),
        (151, 90.7, False),
    ],
)
def test_central_region(side, place, found):
    views = candidates([[0, 0, side, side]], [4], [[place, side / 2]], [4])
    keep, fused = check_centers(views)
    assert keep.tolist() == [found]
    if found:
        assert fused.item() == pytest.approx((2 * 0.9 + 0.6) / 3)


def test_first_centre_of_the_class_counts():
    views = candidates([[0, 0, 90, 90]], [1], [[45, 45], [44, 44], [46, 46]], [0, 1, 1])
    assert check_centers(views)[1].item() == pytest.approx((2 * 0.9 + 0.45) / 3)
    nothing = candidates([[0, 0, 90, 90]], [1], [], [])
    assert not check_centers(nothing)[0].any()


def test_without_the_check_pairs_keep_their_score():
    view = candidates([[0, 0, 90, 90], [200, 200, 300, 300]], [1, 0], [[45, 45]], [1])
    kept = detect_triplets([view], **CHECKED)
    assert kept.bboxes.tolist() == [[0, 0, 90, 90]]
    settings = CHECKED | dict(center_check=None)
    torch.testing.assert_close(detect_triplets([view], **settings).scores, view.scores)


def test_views_are_pooled_before_the_check():
    pair = candidates([[0, 0, 90, 90]], [1], [], [])
    center = candidates([], [], [[45, 45]], [1])._replace(labels=torch.zeros(0).long())
    assert len(detect_triplets([pair, center], **CHECKED).scores) == 1
    hidden = detect_triplets([pair, center], center_views=[True, False], **CHECKED)
    assert len(hidden.scores) == 0


def test_legacy_nms_also_gives_stale_rows():
    boxes = [[0, 0, 90, 90], [0, 0, 90, 90], [0, 0, 90, 89]]
    view = candidates(boxes, [1, 1, 1], [[45, 45]], [1])
    settings = dict(min_score=0.3)
    clean = detect_triplets([view], **CHECKED | dict(nms=settings))
    legacy = detect_triplets([view], **CHECKED | dict(nms=settings | dict(legacy=True)))
    assert (len(clean.scores), len(legacy.scores)) == (1, 3)


# ---- from cells to the image


def test_border_flip_overhang_and_scale():
    meta = dict(
        batch_input_shape=(127, 255),
        img_shape=(127, 255),
        border=(3, 123, 47, 207),
        scale_factor=(0.5, 0.5),
    )
    ratio = 255 / 64  # not 4
    cells = [[20.0, 8, 40, 24], [10.3, 2, 40, 24], [12, 1, 53, 31.5]]
    found = to_image(candidates(cells, [0, 0, 0], [[30, 16]], [0]), (32, 64), meta, rescale=True)
    x1, y1 = (20 * ratio - 47) * 2, (8 * 127 / 32 - 3) * 2
    torch.testing.assert_close(found.boxes[0, :2], torch.tensor([x1, y1]))
    assert (found.scores > 0).tolist() == [True, False, True]  # 10.3 cells are 6 px outside
    assert found.boxes[2].tolist()[2:] == [320, 240]
    flipped = to_image(
        candidates([[64 - 40, 8, 64 - 20, 24]], [0], [[34, 16]], [0]),
        (32, 64),
        meta | dict(flip=True, flip_direction="horizontal"),
        rescale=True,
    )
    torch.testing.assert_close(flipped.boxes[0], found.boxes[0])
    torch.testing.assert_close(flipped.centers, found.centers)
    with pytest.raises(ValueError, match="'vertical'"):
        to_image(
            candidates(cells, [0, 0, 0], [[30, 16]], [0]),
            (32, 64),
            meta | dict(flip=True, flip_direction="vertical"),
            rescale=True,
        )


# ---- several views


def view_of(image: np.ndarray, scale: float, flip: bool) -> tuple[torch.Tensor, DetDataSample]:
    out = ScaledCenterPad(scale=scale, pad_bits=15)(dict(img=image))
    if flip:
        out["img"] = out["img"][:, ::-1]
    sample = DetDataSample()
    keys = ("img_shape", "border", "scale_factor")
    sample.set_metainfo({k: out[k] for k in keys} | dict(flip=flip, flip_direction="horizontal"))
    return torch.from_numpy(out["img"].copy()).permute(2, 0, 1), sample


def test_tta_pools_views_and_takes_centres_at_scale_one(make_model):
    model = make_model().eval()
    tta = MODELS.build(
        dict(type="mmext.CenterNetTripletTTA", module=model, tta_cfg=dict(max_per_img=7))
    )
    image = np.random.default_rng(0).integers(0, 255, (60, 76, 3)).astype(np.uint8)
    views = [view_of(image, scale, flip) for scale in (0.8, 1.0) for flip in (False, True)]
    data = dict(inputs=[[v[0]] for v in views], data_samples=[[v[1]] for v in views])
    with torch.no_grad():
        (sample,) = tta.test_step(data)
        expected = []
        for inputs, view in views:
            batch = model.data_preprocessor(dict(inputs=[inputs], data_samples=[view]))
            expected += model.candidates(batch["inputs"], batch["data_samples"])
    merged = detect_triplets(
        expected,
        center_views=[False, False, True, True],
        center_check=dict(),
        nms=dict(),
        max_per_img=7,
    )
    assert torch.equal(sample.pred_instances.bboxes, merged.bboxes)
    assert torch.equal(sample.pred_instances.scores, merged.scores)


def test_a_single_view_is_the_ordinary_test(make_model):
    model = make_model().eval()
    tta = MODELS.build(dict(type="mmext.CenterNetTripletTTA", module=model))
    inputs, sample = view_of(np.full((60, 76, 3), 90, np.uint8), 1.0, False)
    with torch.no_grad():
        (plain,) = model.test_step(dict(inputs=[inputs], data_samples=[deepcopy(sample)]))
        (merged,) = tta.test_step(dict(inputs=[[inputs]], data_samples=[[sample]]))
    assert torch.equal(plain.pred_instances.scores, merged.pred_instances.scores)
    assert torch.equal(plain.pred_instances.bboxes, merged.pred_instances.bboxes)


def test_idle_block_of_one_stack_is_gone(make_model):
    names = [name for name, _ in make_model(1).backbone.named_parameters()]
    assert not [name for name in names if name.startswith("inters")]
    assert [n for n, _ in make_model(2).backbone.named_parameters() if n.startswith("inters")]
