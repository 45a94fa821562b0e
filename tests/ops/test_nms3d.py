"""nms3d: golden picks, brute force, ties, hulls, bad input."""

import math

import pytest
import torch
from point_samples import golden
from rotated_iou_samples import (
    _chosen_way,  # noqa: F401 (a fixture of every test)
    both_ways,
    needs_extension,
)

from mmext.ops import box3d_iou, nms3d
from mmext.ops._boxes3d import hulls
from mmext.ops.nms3d import nms3d_reference


def candidates(count, dtype=torch.float32, seed=0):
    """Boxes that crowd a room, scores with ties and three labels."""
    make = torch.Generator().manual_seed(seed)
    draw = torch.rand(count, 7, generator=make, dtype=torch.float64)
    draw[:, :3] *= 4
    draw[:, 3:6] = 0.5 + draw[:, 3:6]
    draw[:, 6] *= 6
    scores = torch.rand(count, generator=make).mul(50).round() / 50
    return draw.to(dtype), scores.to(dtype), torch.randint(3, (count,), generator=make)


def greedy(boxes, scores, threshold, labels):
    """The rule, box by box."""
    iou = box3d_iou(boxes, boxes)
    order = sorted(range(len(boxes)), key=lambda i: (-scores[i].item(), i))
    kept = []
    for i in order:
        rivals = [j for j in kept if labels is None or labels[j] == labels[i]]
        if not any(iou[j, i] > threshold for j in rivals):
            kept.append(i)
    return kept


@both_ways
@pytest.mark.parametrize("rotated", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden_picks(dtype, rotated, use_kernel):
    data = golden("nms3d.npz")
    boxes, scores = data["boxes"].to(dtype), data["scores"].to(dtype)
    threshold = data["thr"].item()
    kept = nms3d(boxes, scores, threshold, labels=data["classes"], rotated=rotated)
    assert kept.equal(data["keep_same_class"])
    assert nms3d(boxes, scores, threshold, rotated=rotated).equal(data["keep_agnostic"])


@both_ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("with_labels", [True, False])
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3])
def test_equals_the_rule_box_by_box(threshold, with_labels, dtype, use_kernel):
    boxes, scores, labels = candidates(150, dtype)
    labels = labels if with_labels else None
    kept = nms3d(boxes, scores, threshold, labels=labels)
    assert kept.tolist() == greedy(boxes, scores, threshold, labels)
    assert len(kept) < 150
    around = nms3d(boxes, scores, threshold, labels=labels, rotated=False)
    assert around.tolist() == greedy(hulls(boxes), scores, threshold, labels)
    assert len(around) < len(kept)


@needs_extension
@pytest.mark.parametrize("count", [0, 1, 64, 65, 400])
def test_kernel_equals_reference(count):
    boxes, _, labels = candidates(count)
    for chosen in (None, labels):
        kept = torch.ops.mmext._nms3d_kept(boxes, chosen, 0.2)
        assert kept.equal(nms3d_reference(boxes, chosen, 0.2))


@both_ways
def test_hand_computed_cases(use_kernel):
    cube = [0.0, 0, 0, 2, 2, 2, 0]
    raised = [0.0, 0, 1, 2, 2, 2, 0]  # an IoU of 1 / 3 with the cube
    high = [0.0, 0, 2, 2, 2, 2, 0]  # of 1 / 3 with the raised one, of 0 with the cube
    boxes, scores = torch.tensor([cube, raised, high]), torch.tensor([0.5, 0.9, 0.5])
    assert nms3d(boxes, scores, 0.3).tolist() == [1]
    assert nms3d(boxes, scores, 0.4).tolist() == [1, 0, 2]
    # What is dropped drops nothing, and of equal scores the lower index comes first.
    assert nms3d(boxes, torch.tensor([0.9, 0.5, 0.5]), 0.3).tolist() == [0, 2]
    assert nms3d(boxes[[0, 0, 0]], torch.ones(3), 0.3).tolist() == [0]
    labels = torch.tensor([1, 2, 2], dtype=torch.int32)
    assert nms3d(boxes, scores, 0.3, labels=labels).tolist() == [1, 0]
    # Two thin boxes cross at the middle: their hulls are the same.
    thin = torch.tensor([[0, 0, 0, 4, 0.1, 1, math.pi / 4], [0, 0, 0, 4, 0.1, 1, -math.pi / 4]])
    assert nms3d(thin, torch.tensor([0.5, 0.6]), 0.3).tolist() == [1, 0]
    assert nms3d(thin, torch.tensor([0.5, 0.6]), 0.3, rotated=False).tolist() == [1]


@both_ways
@pytest.mark.parametrize("rotated", [True, False])
def test_boxes_without_volume_are_kept(rotated, use_kernel):
    boxes = torch.tensor([[0.0, 0, 0, 2, 2, 0, 0], [0, 0, 0, -1, 2, 2, 0], [0, 0, 0, 2, 2, 2, 0]])
    assert nms3d(boxes, torch.tensor([3.0, 2, 1]), 0.0, rotated=rotated).tolist() == [0, 1, 2]


@both_ways
def test_half_types_layouts_and_no_boxes(use_kernel):
    boxes, scores, labels = candidates(60)
    strided = boxes.T.contiguous().T.requires_grad_()
    assert nms3d(strided, scores, 0.2).equal(nms3d(boxes, scores, 0.2))
    half = boxes.half()
    assert nms3d(half, scores, 0.2).equal(nms3d(half.float(), scores, 0.2))
    none = nms3d(boxes[:0], scores[:0], 0.2, labels=labels[:0])
    assert none.shape == (0,)
    assert none.dtype == torch.int64


@needs_extension
def test_opcheck():
    boxes, _, labels = candidates(30)
    for chosen in (None, labels):
        torch.library.opcheck(torch.ops.mmext._nms3d_kept.default, (boxes, chosen, 0.2))


@needs_extension
def test_compiles_without_graph_breaks():
    # How many boxes are kept depends on the values, which torch.compile captures on request.
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(nms3d, fullgraph=True, backend="aot_eager", dynamic=True)
        for count in (30, 50):
            boxes, scores, labels = candidates(count)
            kept = compiled(boxes, scores, 0.2, labels=labels)
            assert kept.equal(nms3d(boxes, scores, 0.2, labels=labels))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b, s, c: (b[:, :6], s, c), r"boxes must be \(N, 7\) .* got \(4, 6\)"),
        (lambda b, s, c: (b, s[:3], c), r"scores must be \(4,\) floating point, got \(3,\)"),
        (lambda b, s, c: (b, s.long(), c), r"scores must be \(4,\) floating point"),
        (lambda b, s, c: (b, s, c[:3]), r"labels must be \(4,\) int32 or int64, got \(3,\)"),
        (lambda b, s, c: (b, s, c.float()), r"labels must be \(4,\) int32 or int64"),
        (lambda b, s, c: (b, s.to("meta"), c), "scores is on meta, boxes on cpu"),
        (lambda b, s, c: (b * torch.nan, s, c), r"boxes\[0\] is \[nan, .* with score"),
        (lambda b, s, c: (b, s / 0, c), r"boxes\[0\] is .* with score"),
    ],
)
def test_bad_arguments_are_named(change, message):
    boxes, scores, labels = change(*candidates(4))
    with pytest.raises(ValueError, match=message):
        nms3d(boxes, scores, 0.25, labels=labels)


@needs_extension
def test_a_direct_call_with_wrong_arguments_is_stopped():
    boxes, _, labels = candidates(4)
    with pytest.raises(RuntimeError, match=r"labels must be \(N,\) int64"):
        torch.ops.mmext._nms3d_kept(boxes, labels[:3], 0.2)
    with pytest.raises(RuntimeError, match=r"boxes must be \(N, 7\)"):
        torch.ops.mmext._nms3d_kept(boxes[:, :5], None, 0.2)
