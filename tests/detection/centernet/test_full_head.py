import pytest
import torch
from described_boxes import describe_full
from mmengine.structures import InstanceData
from torch.nn import functional as F

from mmext.detection.centernet.guided_branch import GuidedBranch
from mmext.detection.centernet.quarter_boxes import boxes_to_points, split_boxes


def instances(boxes, labels=None):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).view(-1, 4)
    labels = torch.zeros(len(boxes)) if labels is None else torch.as_tensor(labels)
    return InstanceData(bboxes=boxes, labels=labels.long())


def random_outputs(head, batch=2, size=(128, 160), fill=None):
    torch.manual_seed(0)
    strides = [s[0] for s in head.prior_generator.strides]
    channels = [head.num_classes] * 2 + [18] * 4 + [3, 6, head.num_classes]

    def level(c, s):
        shape = (batch, c, -(-size[0] // s), -(-size[1] // s))
        return torch.randn(shape) if fill is None else torch.full(shape, fill)

    return [[level(c, s).requires_grad_() for s in strides] for c in channels]


def total(losses):
    return sum(sum(v) if isinstance(v, list) else v for v in losses.values())


def test_shapes_and_initial_scores(make_full_head):
    head = make_full_head(num_classes=7, strides=[8, 16, 32, 64, 128])
    feats = [torch.randn(2, 32, *size) for size in ((16, 20), (8, 10), (4, 5), (2, 3), (1, 1))]
    outs = head(feats)
    for out, channels in zip(outs, [7, 7, 18, 18, 18, 18, 3, 6, 7], strict=True):
        assert [tuple(m.shape) for m in out] == [(2, channels, *f.shape[-2:]) for f in feats]
    for index in (0, 1, 6, 8):
        torch.testing.assert_close(outs[index][0].sigmoid().mean().item(), 0.01, rtol=0.1, atol=0)


def test_initialisation(make_full_head):
    """N(0, 0.01^2) but for the blocks before the heat maps, which no official line touches."""
    head = make_full_head()
    for name, parameter in head.named_parameters():
        untouched = name.startswith(("keypoints.feats", "sem_embedding"))
        if "conv_offset" in name:
            assert not parameter.any(), name
        elif parameter.ndim == 4:
            assert (0.008 < parameter.std() < 0.012) != untouched, name
        elif name.endswith("bias") and not untouched:
            prior = "cls_out" in name or "score_outs" in name or "sem_out" in name
            assert torch.allclose(parameter, torch.tensor(-4.595 if prior else 0.0), atol=1e-3)


@pytest.mark.parametrize("feats", [2, 4])
@pytest.mark.parametrize("kind", ["make_full_head", "make_head"])
def test_levels_that_do_not_match_the_strides(request, kind, feats):
    head = request.getfixturevalue(kind)()
    with pytest.raises(ValueError, match=rf"{feats} feature maps for 3 strides=\[8, 16, 32\]"):
        head([torch.randn(1, 32, 4, 4)] * feats)


@pytest.mark.parametrize("num_points", [2, 4, 10, 16])
def test_points_have_to_fill_a_kernel(make_full_head, num_points):
    with pytest.raises(ValueError, match=f"num_points={num_points}"):
        make_full_head(num_points=num_points)


def branch(gradient_mul=0.1):
    torch.manual_seed(0)
    return GuidedBranch(
        num_classes=3,
        in_channels=32,
        feat_channels=32,
        point_feat_channels=8,
        num_points=9,
        hint_channels=9,
        gradient_mul=gradient_mul,
        tower_conv_cfgs=[None],
        norm_cfg=dict(type="GN", num_groups=32),
    )


def test_convolutions_sample_where_the_points_say():
    """Points on the grid of a 3x3 kernel, y before x, and the same a row down and a column left."""
    part = branch()
    cls_feat, reg_feat = torch.randn(2, 1, 32, 7, 9)
    hints = torch.randn(1, 9, 7, 9)
    grid = [(y, x) for y in (-1.0, 0.0, 1.0) for x in (-1.0, 0.0, 1.0)]
    for dy, dx in ((0, 0), (1, -1)):
        points = torch.tensor([[y + dy, x + dx] for y, x in grid]).view(1, 18, 1, 1)
        cls_score, final = part.predict(cls_feat, reg_feat, hints, points.expand(1, 18, 7, 9))
        rows, cols = slice(1, 5), slice(2, 7)
        at = (slice(None), slice(None), slice(1 + dy, 5 + dy), slice(2 + dx, 7 + dx))
        for feat, conv, out, found in (
            (cls_feat, part.cls_conv, part.cls_out, cls_score),
            (reg_feat, part.pts_refine_conv, part.pts_refine_out, final),
        ):
            plain = out(F.relu(F.conv2d(torch.cat((feat, hints), 1), conv.weight, padding=1)))
            torch.testing.assert_close(found[:, :, rows, cols], plain[at], rtol=1e-4, atol=1e-5)


def test_the_guide_is_no_part_of_the_state_dict_but_moves_along():
    part = branch().double()
    assert part.base_offset.dtype == torch.float64
    assert not any("base_offset" in name for name in part.state_dict())


def test_points_get_a_tenth_of_the_gradient():
    cls_feat, reg_feat = torch.randn(2, 1, 32, 6, 6)
    hints, points = torch.randn(1, 9, 6, 6), torch.randn(1, 18, 6, 6)
    grads = []
    for gradient_mul in (0.1, 1.0):
        guide = points.clone().requires_grad_()
        outs = branch(gradient_mul).predict(cls_feat, reg_feat, hints, guide)
        sum(out.sum() for out in outs).backward()
        grads.append(guide.grad)
    assert grads[1].abs().max() > 0
    torch.testing.assert_close(grads[0], 0.1 * grads[1])


def test_classes_teach_the_heat_maps(make_full_head):
    """The maps reach the predictors as logits that are not detached."""
    head = make_full_head(strides=[8])
    head([torch.randn(1, 32, 8, 8)])[0][0].sum().backward()
    assert head.keypoints.score_outs["ct"].weight.grad.abs().sum() > 0
    assert head.keypoints.offset_outs["tl"].weight.grad.abs().sum() > 0


def test_every_parameter_gets_a_gradient_even_without_boxes(make_full_head, meta):
    head = make_full_head()
    feats = [torch.randn(2, 32, *size) for size in ((16, 20), (8, 10), (4, 5))]
    for gts in ([instances([]), instances([])], [instances([[8, 8, 90, 90]]), instances([])]):
        head.zero_grad(set_to_none=True)
        losses = head.loss_by_feat(*head(feats), gts, [meta] * 2)
        total(losses).backward()
        assert total(losses).isfinite()
        assert all(loss > 0 for loss in losses["loss_heatmap"])
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


MANY = torch.cat([(c := torch.rand(2000, 2) * 120), c + 1 + torch.rand(2000, 2) * 60], 1)


@pytest.mark.parametrize("fill", [None, 0.0, 40.0, -200.0], ids=["random", "0", "40", "-200"])
@pytest.mark.parametrize(
    "boxes",
    [[], [[40, 40, 41, 41]], [[-1e4, -1e4, 1e4, 1e4]], [[500, 500, 600, 700]], MANY],
    ids=["none", "pixel", "larger", "outside", "2000"],
)
def test_losses_are_finite(make_full_head, meta, boxes, fill):
    head = make_full_head()
    outs = random_outputs(head, fill=fill)
    losses = head.loss_by_feat(*outs, [instances(boxes), instances([])], [meta] * 2)
    total(losses).backward()
    assert all(
        torch.as_tensor(v).isfinite()
        for part in losses.values()
        for v in (part if isinstance(part, list) else [part])
    )
    assert all(m.grad is None or m.grad.isfinite().all() for out in outs for m in out)


@pytest.mark.parametrize("fill", [0.0, 8.0, -8.0])
def test_constant_maps_give_well_formed_detections(make_full_head, meta, fill):
    head = make_full_head(strides=[8, 16, 32, 64, 128])
    outs = [[m.detach() for m in out] for out in random_outputs(head, fill=fill)]
    for result in head.predict_by_feat(*outs, batch_img_metas=[meta] * 2, rescale=True):
        assert result.bboxes.shape == (len(result.scores), 4)
        assert len(result) <= 100
        assert result.bboxes.isfinite().all()


def test_padding_is_ignored_by_heat_maps(make_full_head, meta):
    head = make_full_head()
    outs = random_outputs(head, batch=1)
    small = dict(meta, pad_shape=(96, 128))
    gts = [instances([[10, 10, 60, 70], [90, 60, 128, 96]])]
    before = head.keypoint_losses(outs[6], outs[7], gts, [small])
    for out in outs[6:8]:
        for m, stride in zip(out, (8, 16, 32), strict=True):
            m.data[..., 96 // stride :, :] += 3
            m.data[..., 128 // stride :] += 3
    after = head.keypoint_losses(outs[6], outs[7], gts, [small])
    assert torch.equal(total(before), total(after))
    assert not torch.equal(total(head.keypoint_losses(outs[6], outs[7], gts, [meta])), total(after))


def test_perfect_maps_cost_next_to_nothing(make_full_head, meta):
    head = make_full_head(strides=[8])
    gts = [instances([[10, 10, 60, 70]])]
    score, offset = torch.full((1, 3, 16, 20), -20.0), torch.zeros(1, 6, 16, 20)
    for k, (x, y) in enumerate([(10, 10), (60, 70), (35, 40)]):
        col, row = round(x / 8 - 0.01), round(y / 8 - 0.01)
        score[0, k, row, col] = 20
        offset[0, 2 * k : 2 * k + 2, row, col] = torch.tensor([x / 8 - col, y / 8 - row])
    losses = head.keypoint_losses([score], [offset], gts, [meta])
    assert losses["loss_offset"][0] == 0
    assert losses["loss_heatmap"][0] < 1e-6
    wrong = head.keypoint_losses([score], [offset + 1], gts, [meta])
    # A stride off: smooth L1 with beta 1/9 is 1 - 1/18 per coordinate, of two.
    torch.testing.assert_close(wrong["loss_offset"][0], torch.tensor(2 * (1 - 1 / 18)))


def test_two_processes_train_as_one(make_full_head, meta, monkeypatch):
    head = make_full_head()
    outs = random_outputs(head)
    gts = [instances([[16, 24, 56, 72], [8, 8, 100, 90]], [1, 3]), instances([])]
    maps = (outs[6], outs[7])
    whole = head.keypoint_losses(*maps, gts, [meta] * 2)

    name = "mmext.detection.centernet.full_head.reduce_mean"
    halves = [([[m[i : i + 1] for m in out] for out in maps], [gts[i]], [meta]) for i in range(2)]
    counts = []
    monkeypatch.setattr(name, lambda local: counts.append(local) or local)
    for half, gt, metas in halves:
        head.keypoint_losses(*half, gt, metas)
    monkeypatch.setattr(name, lambda local: sum(counts) / 2)
    parts = [total(head.keypoint_losses(*half, gt, metas)) for half, gt, metas in halves]
    torch.testing.assert_close(sum(parts) / 2, total(whole))


@pytest.mark.parametrize("levels", [1, 3, 5, 6])
def test_which_maps_correct_which_level(make_full_head, levels):
    """On flat maps the first of four cells wins, so an offset tells where it was read.

    The offset is level + 1 strides plus 0.1 for top-left, 0.2 for bottom-right corners and 0.3 for
    centres.
    """
    strides = [8 * 2**i for i in range(levels)]
    head = make_full_head(strides=strides)
    size = 8 * 2**6
    shapes = [(size // s, size // s) for s in strides]
    heat = [torch.zeros(1, 3, *shape) for shape in shapes]
    kinds = torch.tensor([0.1, 0.1, 0.2, 0.2, 0.3, 0.3]).view(1, 6, 1, 1)
    offset = [level + 1 + kinds.expand(1, 6, *shape) for level, shape in enumerate(shapes)]
    box = torch.tensor([61.0, 77.0, 99.0, 130.0])
    boxes = box.expand(1, 2 * levels, 4)
    per_level = boxes.split(2, 1)
    for corners, (first, second) in (((0, 2), (0.1, 0.3)), ((2, 1), (0.3, 0.2))):
        refined = head._refine(per_level, corners, heat, offset)
        assert torch.equal(refined[:, :2], boxes[:, :2])
        for level in range(1, levels):
            source = {1: 0, 2: 0, 3: 1, 4: 1, 5: 2}[level]
            stride = strides[source]
            shift = source + 1 + torch.tensor([first, first, second, second])
            expected = ((box / stride).floor() + shift) * stride
            torch.testing.assert_close(refined[0, 2 * level], expected)


def test_a_coarse_box_moves_to_its_key_points_and_stays_in_the_image(make_full_head, meta):
    head = make_full_head()
    outs = describe_full(head, [instances([])])
    cell, place = (4, 3), torch.tensor([[48.0, 64.0, 16.0]])  # row and column; x, y and stride
    for side, quarter in enumerate(split_boxes(torch.tensor([[20.0, 23, 88, 98]]))):
        outs[side][1][0, 3, *cell] = 4.0
        outs[4 + side][1][0, :4, *cell] = boxes_to_points(quarter, place)[0]
    (plain,) = head.predict_by_feat(*outs, batch_img_metas=[meta])
    assert len(plain) == 1  # flat maps: every corner is one of the four cells around it
    for k, (x, y) in enumerate([(18, 22), (90, 100), (54, 61)]):
        outs[6][0][0, k, y // 8, x // 8] = 5.0
        outs[7][0][0, 2 * k : 2 * k + 2] = torch.tensor([x % 8, y % 8]).view(2, 1, 1) / 8
    (moved,) = head.predict_by_feat(*outs, batch_img_metas=[meta])
    assert moved.bboxes.tolist() == [[18, 22, 90, 100]]
    outs[7][0][0, 2:4] += 100
    (clamped,) = head.predict_by_feat(
        *outs,
        batch_img_metas=[meta],
        cfg=dict(head.test_cfg, grouping=dict(small_ratio=1.0, large_ratio=1.0)),
    )
    assert clamped.bboxes.tolist() == [[18, 22, 160, 128]]


def test_the_score_of_the_centre_counts_if_asked(make_full_head, meta):
    head = make_full_head()
    gt = instances([[16.0, 24, 56, 72]], [1])
    outs = describe_full(head, [gt])
    # The centre is at (36, 48), so the cells 4 and 5 by 6 and 7 are around it.
    outs[6][0][0, 2, 7, 5] = 2.0
    outs[6][0][0, 2, 7, 6] = 9.0
    outs[6][0][0, 0, 6, 4] = 9.0
    side, centre = torch.tensor([4.0, 2.0]).sigmoid()
    for rescale in (False, True):
        (pair,) = head.predict_by_feat(*outs, batch_img_metas=[meta], rescale=rescale)
        torch.testing.assert_close(pair.scores, side[None])
        cfg = dict(head.test_cfg, score_fusion="triplet")
        (triplet,) = head.predict_by_feat(*outs, batch_img_metas=[meta], cfg=cfg, rescale=rescale)
        torch.testing.assert_close(triplet.scores, ((2 * side + centre) / 3)[None])
        assert torch.equal(triplet.bboxes, pair.bboxes)


def test_score_fusion_that_cannot_be(make_full_head, make_head, meta):
    full, fast = make_full_head(), make_head()
    outs = describe_full(full, [instances([])])
    with pytest.raises(ValueError, match="score_fusion='mean': expected 'pair', or 'triplet'"):
        full.predict_by_feat(
            *outs, batch_img_metas=[meta], cfg=dict(full.test_cfg, score_fusion="mean")
        )
    with pytest.raises(ValueError, match="CenterNetPlusPlusFastHead lacks a heat map"):
        fast.predict_by_feat(
            *outs[:6],
            outs[8],
            batch_img_metas=[meta],
            cfg=dict(fast.test_cfg, score_fusion="triplet"),
        )


def test_duplicates_are_dropped_within_a_class_only(make_full_head):
    head = make_full_head()
    boxes = torch.tensor([[0.0, 0, 40, 40], [0, 0, 40, 32], [0, 0, 40, 31], [0, 0, 40, 20]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    result = head._merge((boxes, scores, torch.tensor([0, 0, 1, 0])), head.test_cfg)
    assert result.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])


def test_a_batch_equals_its_images(make_full_head, meta):
    head = make_full_head()
    gts = [instances([[16, 24, 56, 72], [70, 10, 120, 50]], [1, 4]), instances([])]
    outs = describe_full(head, gts)
    metas = [meta, dict(meta, img_shape=(100, 100))]
    batch = head.predict_by_feat(*outs, batch_img_metas=metas, rescale=True)
    assert [len(result) for result in batch] == [2, 0]
    for i in range(2):
        single = [[m[i : i + 1] for m in out] for out in outs]
        (alone,) = head.predict_by_feat(*single, batch_img_metas=[metas[i]], rescale=True)
        assert torch.equal(alone.bboxes, batch[i].bboxes)
        assert torch.equal(alone.scores, batch[i].scores)
