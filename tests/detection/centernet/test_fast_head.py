import pytest
import torch
from described_boxes import describe
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData


def instances(boxes, labels=None):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).view(-1, 4)
    labels = torch.zeros(len(boxes)) if labels is None else torch.as_tensor(labels)
    return InstanceData(bboxes=boxes, labels=labels.long())


def random_outputs(head, batch=2, size=(128, 160), seed=0):
    torch.manual_seed(seed)
    strides = [s[0] for s in head.prior_generator.strides]
    channels = [head.num_classes] * 2 + [18] * 4 + [head.num_classes]
    return [
        [torch.randn(batch, c, size[0] // s, size[1] // s).requires_grad_() for s in strides]
        for c in channels
    ]


def total(losses):
    return sum(sum(v) if isinstance(v, list) else v for v in losses.values())


def test_shapes_and_initial_scores(make_head):
    head = make_head(num_classes=7, num_points=9)
    feats = [torch.randn(2, 32, *size) for size in ((16, 20), (8, 10), (2, 3))]
    outs = head(feats)
    assert len(outs) == 7
    for out, channels in zip(outs, [7, 7, 18, 18, 18, 18, 7], strict=True):
        assert [tuple(m.shape) for m in out] == [(2, channels, *f.shape[-2:]) for f in feats]
    for index in (0, 1, 6):
        torch.testing.assert_close(outs[index][0].sigmoid().mean().item(), 0.01, rtol=0.1, atol=0)


def test_the_embedding_goes_into_all_four_towers(make_head, monkeypatch):
    head = make_head(strides=[8])
    feats = [torch.randn(1, 32, 8, 8)]

    def outputs(embedding: float, added_to_towers: float):
        head.sem_embedding.gn.weight.data.zero_()
        head.sem_embedding.gn.bias.data.fill_(embedding)
        for branch in head.branches.values():
            towers = type(branch).towers
            monkeypatch.setattr(
                branch,
                "towers",
                lambda x, b=branch, t=towers: [f + added_to_towers for f in t(b, x)],
            )
        return head(feats)[:6]

    for added, embedded in zip(outputs(0.0, 0.7), outputs(0.7, 0.0), strict=True):
        torch.testing.assert_close(added[0], embedded[0])
    for plain, embedded in zip(outputs(0.0, 0.0), outputs(0.7, 0.0), strict=True):
        assert not torch.allclose(plain[0], embedded[0])


def test_initialisation(make_head):
    head = make_head()
    for name, parameter in head.named_parameters():
        if "conv_offset" in name:
            assert not parameter.any(), name
        elif name.endswith("weight") and parameter.ndim == 4 and "sem_embedding" not in name:
            assert 0.008 < parameter.std() < 0.012, name


def test_kaiming_predictors(make_head):
    predictors = ("cls_conv", "pts_init_conv", "pts_refine_conv")
    head = make_head(kaiming_predictors=True)
    for name, parameter in head.branches.named_parameters():
        if name.split(".")[1] in predictors and name.endswith("weight"):
            std = (2 / parameter[0].numel()) ** 0.5
            assert parameter.std().item() == pytest.approx(std, rel=0.1), name
        elif name.endswith("out.weight"):
            assert parameter.std() < 0.012, name


def test_initial_box(make_head):
    head = make_head(initial_box=4.0)
    outs = head([torch.randn(1, 32, *size) for size in ((16, 20), (8, 10), (4, 5))])
    for points in outs[2:6]:  # y, x of the top-left and of the bottom-right corner
        torch.testing.assert_close(
            points[0].mean((0, 2, 3))[:4], torch.tensor([-2.0, -2, 2, 2]), atol=0.1, rtol=0
        )


def test_box_loss_scale_sets_how_much_an_error_counts(make_head, meta):
    feats = [torch.randn(1, 32, *size) for size in ((16, 20), (8, 10), (4, 5))]
    gts = [instances([[8, 8, 24, 24]])]
    losses = {}
    for scale in (4.0, 1.0):
        torch.manual_seed(0)
        head = make_head(box_loss_scale=scale)
        losses[scale] = head.loss_by_feat(*head(feats), gts, [meta])
    assert sum(losses[1.0]["loss_pts_init"]) > 1.5 * sum(losses[4.0]["loss_pts_init"])
    assert sum(losses[1.0]["loss_cls"]) == sum(losses[4.0]["loss_cls"])


def test_tower_convolutions_follow_the_config(make_head):
    deformable, plain = make_head(stacked_convs=2), make_head(stacked_convs=2, dcn_cfg=None)
    kinds = [type(layer.conv).__name__ for layer in deformable.branches["tl"].reg_convs]
    assert kinds == ["Conv2d", "Conv2d", "DCNv2"]
    kinds = [type(layer.conv).__name__ for layer in plain.branches["br"].cls_convs]
    assert kinds == ["Conv2d", "Conv2d", "Conv2d"]


def test_every_parameter_gets_a_gradient_even_without_boxes(make_head, meta):
    head = make_head()
    feats = [torch.randn(2, 32, *size) for size in ((16, 20), (8, 10), (4, 5))]
    for gts in ([instances([]), instances([])], [instances([[8, 8, 90, 90]]), instances([])]):
        head.zero_grad(set_to_none=True)
        loss = total(head.loss_by_feat(*head(feats), gts, [meta] * 2))
        loss.backward()
        assert loss.isfinite()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(
    "boxes",
    [
        [[5, 5, 5, 50]],
        [[5, 5, 2, 50]],
        [[-90, -90, -20, -20], [500, 500, 600, 700]],
        [[-1e4, -1e4, 1e4, 1e4]],
        [[3, 3, 3.001, 3.001]],
    ],
)
def test_odd_boxes_give_finite_losses(make_head, meta, boxes):
    head = make_head()
    outs = random_outputs(head)
    loss = total(head.loss_by_feat(*outs, [instances(boxes)] * 2, [meta] * 2))
    loss.backward()
    assert loss.isfinite()
    assert all(m.grad is None or m.grad.isfinite().all() for out in outs for m in out)


def test_boxes_without_extent_change_nothing(make_head, meta):
    head = make_head()
    outs = random_outputs(head)
    clean = instances([[10, 10, 60, 70]], [2])
    dirty = instances([[10, 10, 60, 70], [30, 30, 30, 90]], [2, 1])
    expected = total(head.loss_by_feat(*outs, [clean] * 2, [meta] * 2))
    torch.testing.assert_close(
        total(head.loss_by_feat(*outs, [dirty] * 2, [meta] * 2)), expected, rtol=0, atol=0
    )


def test_a_label_that_is_no_class_is_refused(make_head, meta):
    head = make_head()
    with pytest.raises(ValueError, match="num_classes"):
        head.loss_by_feat(*random_outputs(head), [instances([[0, 0, 9, 9]], [5])] * 2, [meta] * 2)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 10**6), count=st.integers(2, 25))
def test_order_of_boxes_changes_no_loss(make_head, meta, seed, count):
    """Where predictions overlap the boxes: ATSS settles ties, at an IoU of zero too, by order."""
    head = make_head()
    outs = random_outputs(head, batch=1, seed=seed)
    with torch.no_grad():
        for maps in outs[2:6]:
            for m in maps:
                m[:, :2] -= 6
                m[:, 2:4] += 6
    corner = torch.rand(count, 2) * 100
    boxes = torch.cat((corner, corner + 4 + torch.rand(count, 2) * 50), 1)
    labels, order = torch.randint(0, 5, (count,)), torch.randperm(count)
    losses = head.loss_by_feat(*outs, [instances(boxes, labels)], [meta])
    shuffled = head.loss_by_feat(*outs, [instances(boxes[order], labels[order])], [meta])
    torch.testing.assert_close(total(losses), total(shuffled), rtol=1e-5, atol=1e-6)


def test_half_precision_outputs_are_scored_in_single(make_head, meta):
    head = make_head()
    outs = random_outputs(head)
    half = [[m.detach().bfloat16() for m in out] for out in outs]
    single = [[m.float() for m in out] for out in half]
    gts = [instances([[10, 10, 60, 70]], [2])] * 2
    expected = total(head.loss_by_feat(*single, gts, [meta] * 2))
    assert torch.equal(total(head.loss_by_feat(*half, gts, [meta] * 2)), expected)


def test_padding_is_ignored_by_class_and_box_losses(make_head, meta):
    head = make_head()
    outs = random_outputs(head, batch=1)
    small = dict(meta, pad_shape=(96, 128))
    gts = [instances([[10, 10, 60, 70]], [2])]
    before = head.loss_by_feat(*outs, gts, [small])
    for out in outs[:6]:
        for m, stride in zip(out, (8, 16, 32), strict=True):
            m.data[..., 96 // stride :, :] += 3
            m.data[..., 128 // stride :] += 3
    after = head.loss_by_feat(*outs, gts, [small])
    assert torch.equal(total(before), total(after))
    assert not torch.equal(total(head.loss_by_feat(*outs, gts, [meta])), total(after))


boxes_in_a_grid = st.lists(
    st.tuples(st.integers(0, 11), st.floats(14, 34), st.floats(14, 34), st.integers(0, 4)),
    min_size=1,
    max_size=12,
    unique_by=lambda item: item[0],
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(boxes_in_a_grid)
def test_every_described_box_is_found(make_head, meta, layout):
    head = make_head()
    boxes = [[x := 40 * (i % 4) + 2, y := 40 * (i // 4) + 2, x + w, y + h] for i, w, h, _ in layout]
    gt = instances(boxes, [label for *_, label in layout])
    meta = dict(meta, img_shape=(128, 160))
    (result,) = head.predict_by_feat(*describe(head, [gt]), batch_img_metas=[meta])
    assert len(result) == len(gt)
    found = bbox_overlaps(gt.bboxes.clamp(max=160), result.bboxes)
    best, index = found.max(1)
    assert (best > 0.999).all()
    assert torch.equal(result.labels[index], gt.labels)


def test_boxes_are_clamped_to_the_image(make_head, meta):
    head = make_head()
    gt = instances([[-20, -12, 60, 44], [100, 80, 180, 144]], [1, 1])
    meta = dict(meta, img_shape=(120, 150))
    # The centre of the clamped box moves, so let any centre in.
    cfg = dict(head.test_cfg, grouping=dict(small_ratio=1.0, large_ratio=1.0))
    (result,) = head.predict_by_feat(*describe(head, [gt]), batch_img_metas=[meta], cfg=cfg)
    found = sorted(result.bboxes.round().tolist())
    assert found == [[0, 0, 60, 44], [100, 80, 150, 120]]


def test_scaling_back_comes_before_grouping(make_head, meta):
    """72 x 72 px is large (ratio 1/4), but small (ratio 1/5) in the original image half that size.

    The centres lie 8 px from the middle: inside 72/4/2 = 9, outside 72/5/2 = 7.2.
    """
    head = make_head()
    gt = instances([[16, 16, 88, 88]], [1])
    outs = describe(head, [gt])
    for side in (4, 5):
        points = outs[side][0]
        used = points[:, :4].abs().sum(1, keepdim=True) > 0
        column = 3 if side == 4 else 1  # x of the centre: second point of tl, first of br
        points[:, column : column + 1] += used * 1.0  # one stride, 8 px
    (kept,) = head.predict_by_feat(*outs, batch_img_metas=[meta], rescale=False)
    assert kept.bboxes.tolist() == [[16, 16, 88, 88]]
    (dropped,) = head.predict_by_feat(*outs, batch_img_metas=[meta], rescale=True)
    assert len(dropped) == 0


def test_boxes_go_back_to_the_original_image(make_head, meta):
    head = make_head()
    outs = describe(head, [instances([[16, 24, 56, 72]], [1])])
    meta = dict(meta, scale_factor=(2.0, 4.0))
    (result,) = head.predict_by_feat(*outs, batch_img_metas=[meta], rescale=True)
    assert result.bboxes.tolist() == [[8, 6, 28, 18]]


def test_soft_nms_lowers_scores_within_a_class_only(make_head):
    head = make_head()
    boxes = torch.tensor([[0.0, 0, 40, 40], [0, 0, 40, 32], [0, 0, 40, 31]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    labels = torch.tensor([0, 0, 1])
    result = head._merge((boxes, scores, labels), head.test_cfg)
    expected = torch.tensor([0.9, 0.7, 0.8 * (1 - 0.8)])  # IoU 0.8 above 0.6
    torch.testing.assert_close(result.scores, expected)
    assert result.labels.tolist() == [0, 1, 0]
    assert len(head._merge((boxes, scores, labels), dict(head.test_cfg, max_per_img=2)).scores) == 2


def test_only_the_best_cells_of_a_level_are_decoded(make_head, meta):
    head = make_head()
    outs = [[m.detach() for m in out] for out in random_outputs(head)]
    cfg = dict(nms_pre=50, score_thr=0.0)
    boxes, scores, counts = head.candidates(outs[0], outs[4], [meta] * 2, cfg)
    assert counts == [50, 50, 20]
    assert boxes.shape == (2, 50 + 50 + 20, 4)
    assert scores.shape == (2, 120, 5)
    level = outs[0][0].sigmoid().flatten(2).amax(1)
    expected = level.topk(50).values.sort(1).values
    torch.testing.assert_close(scores[:, :50].amax(-1).sort(1).values, expected)


def test_cells_below_the_threshold_in_all_images_are_not_decoded(make_head, meta):
    head = make_head()
    outs = [[m.detach() for m in out] for out in random_outputs(head)]
    everything = dict(nms_pre=10**4, score_thr=0.0)
    _, all_scores, sizes = head.candidates(outs[0], outs[4], [meta] * 2, everything)
    threshold = all_scores.amax(-1).quantile(0.9).item()
    _, scores, counts = head.candidates(
        outs[0], outs[4], [meta] * 2, dict(everything, score_thr=threshold)
    )
    levels = [level.amax(-1) for level in all_scores.split(sizes, 1)]
    assert counts == [int((level > threshold).sum(1).max()) for level in levels]
    assert sum(counts) < sum(sizes)
    kept, wanted = (s[s > threshold].sort().values for s in (scores, all_scores))
    assert torch.equal(kept, wanted)


def test_a_batch_equals_its_images(make_head, meta):
    head = make_head()
    gts = [instances([[16, 24, 56, 72], [70, 10, 120, 50]], [1, 4]), instances([])]
    outs = describe(head, gts)
    metas = [meta, dict(meta, img_shape=(100, 100))]
    batch = head.predict_by_feat(*outs, batch_img_metas=metas, rescale=True)
    assert [len(result) for result in batch] == [2, 0]
    assert batch[1].bboxes.shape == (0, 4)
    assert batch[1].scores.shape == batch[1].labels.shape == (0,)
    for i in range(2):
        single = [[m[i : i + 1] for m in out] for out in outs]
        (alone,) = head.predict_by_feat(*single, batch_img_metas=[metas[i]], rescale=True)
        assert torch.equal(alone.bboxes, batch[i].bboxes)
        assert torch.equal(alone.scores, batch[i].scores)


def test_one_class(make_head, meta):
    head = make_head(num_classes=1)
    gt = instances([[16, 24, 56, 72]])
    outs = describe(head, [gt])
    (result,) = head.predict_by_feat(*outs, batch_img_metas=[meta])
    assert result.bboxes.tolist() == [[16, 24, 56, 72]]
    assert total(head.loss_by_feat(*outs, [gt], [meta])).isfinite()


def test_two_processes_train_as_one(make_head, meta, monkeypatch):
    """The mean of the losses of two halves is that of the whole, given the mean of their counts."""
    head = make_head()
    outs = random_outputs(head)
    gts = [instances([[16, 24, 56, 72], [8, 8, 100, 90]], [1, 3]), instances([])]
    whole = head.loss_by_feat(*outs, gts, [meta] * 2)

    name = "mmext.detection.centernet.quarter_box_head.reduce_mean"
    halves = [([[m[i : i + 1] for m in out] for out in outs], [gts[i]], [meta]) for i in range(2)]
    counts = []
    monkeypatch.setattr(name, lambda local: counts.append(local) or local)
    for half, gt, metas in halves:
        head.loss_by_feat(*half, gt, metas)
    monkeypatch.setattr(name, lambda local: sum(counts) / 2)
    parts = [total(head.loss_by_feat(*half, gt, metas)) for half, gt, metas in halves]
    torch.testing.assert_close(sum(parts) / 2, total(whole))
