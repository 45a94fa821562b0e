"""rotated_iou: against polygons, mmcv, finite differences, its reference and known cases."""

import math
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import shapely
import torch
from rotated_iou_samples import (
    _chosen_way,  # noqa: F401 (a fixture of every test)
    both_ways,
    needs_extension,
    pairs,
    weighted_gradients,
)

from mmext.ops import rotated_iou
from mmext.ops.rotated_iou import rotated_iou_reference

DATA = Path(__file__).parents[1] / "data"


def polygons(boxes):
    """(N, 5) rboxes as shapely polygons."""
    x, y, w, h, angle = boxes.double().numpy().T
    corners = [
        (
            x + np.cos(angle) * i * w - np.sin(angle) * j * h,
            y + np.sin(angle) * i * w + np.cos(angle) * j * h,
        )
        for i, j in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    ]
    return shapely.polygons(np.stack([np.stack(corner, -1) for corner in corners], 1))


def polygon_iou(pred, target):
    """The IoU of polygons clipped by shapely, in float64."""
    one, other = polygons(pred), polygons(target)
    overlap = shapely.area(shapely.intersection(one, other))
    return torch.from_numpy(overlap / (shapely.area(one) + shapely.area(other) - overlap))


def one(pred, target, dtype=torch.float64):
    """The IoU of one pair and the gradient of pred, as numbers."""
    pred = torch.tensor([pred], dtype=dtype, requires_grad=True)
    iou = rotated_iou(pred, torch.tensor([target], dtype=dtype))
    (gradient,) = torch.autograd.grad(iou.sum(), pred)
    return iou.item(), gradient[0].tolist()


@both_ways
@pytest.mark.parametrize(("aspect", "apart"), [(3.0, 5.0), (8.0, 2.0), (1.0, 15.0)])
def test_equals_polygons(aspect, apart, use_kernel):
    pred, target = pairs(3000, aspect=aspect, apart=apart)
    iou = rotated_iou(pred, target)
    assert iou.gt(0).float().mean() > 0.2
    torch.testing.assert_close(iou, polygon_iou(pred, target), rtol=0, atol=1e-11)
    single = rotated_iou(pred.float(), target.float())
    expected = rotated_iou(pred.float().double(), target.float().double())
    torch.testing.assert_close(single.double(), expected, rtol=0, atol=1e-5 if aspect > 5 else 1e-6)


@both_ways
def test_equals_the_stored_polygons_of_hard_pairs(use_kernel):
    stored = np.load(DATA / "rotated_iou.npz")
    pred, target, iou = (torch.from_numpy(stored[name]) for name in ("pred", "target", "iou"))
    # Clipping polygons of 1e-3 px loses digits that the closed form keeps.
    torch.testing.assert_close(rotated_iou(pred, target), iou, rtol=0, atol=1e-12)
    pred, target = pred.float(), target.float()
    expected = rotated_iou(pred.double(), target.double())
    torch.testing.assert_close(rotated_iou(pred, target).double(), expected, rtol=0, atol=5e-6)


def test_equals_mmcv():
    mmcv_ops = pytest.importorskip("mmcv.ops", reason="mmcv's ops are not installed")
    pred, target = pairs(2000, torch.float32)
    theirs = mmcv_ops.box_iou_rotated(pred, target, aligned=True)
    torch.testing.assert_close(rotated_iou(pred, target), theirs, rtol=0, atol=2e-6)


@both_ways
@pytest.mark.parametrize(("aspect", "apart"), [(3.0, 5.0), (6.0, 2.0)])
def test_gradients_equal_finite_differences(aspect, apart, use_kernel):
    pred, target = pairs(4000, aspect=aspect, apart=apart)
    gradients, upstream = weighted_gradients(rotated_iou, pred, target)
    both, step = torch.cat([pred, target], 1), 1e-6
    for field in range(10):
        move = torch.zeros(10, dtype=torch.float64)
        move[field] = step
        after, before = both + move, both - move
        difference = rotated_iou(after[:, :5], after[:, 5:]) - rotated_iou(
            before[:, :5], before[:, 5:]
        )
        expected = upstream * difference / (2 * step)
        torch.testing.assert_close(gradients[:, field], expected, rtol=1e-6, atol=2e-8)


@needs_extension
@pytest.mark.parametrize("aspect", [1.0, 4.0])
def test_float32_gradients_are_close_to_float64(aspect):
    pred, target = pairs(4000, torch.float32, aspect=aspect)
    single, _ = weighted_gradients(rotated_iou, pred, target)
    double, _ = weighted_gradients(rotated_iou, pred.double(), target.double())
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=2e-5)


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_kernel_equals_reference(count, dtype):
    pred, target = pairs(count, dtype)
    tolerance = dict(rtol=1e-10, atol=1e-10)
    if dtype != torch.float64:
        tolerance = dict(rtol=max(1e-3, torch.finfo(dtype).eps), atol=2e-4)
    torch.testing.assert_close(
        rotated_iou(pred, target), rotated_iou_reference(pred, target), **tolerance
    )
    torch.testing.assert_close(
        weighted_gradients(rotated_iou, pred, target)[0],
        weighted_gradients(rotated_iou_reference, pred, target)[0],
        **tolerance,
    )


@both_ways
def test_hand_computed_cases(use_kernel):
    # Half a square beside the other: overlap 2, union 6, and 2 px more of both for a px to the
    # right. The upper and lower edges lie on one line, so half of their pieces counts.
    iou, (x, y, w, h, angle) = one([0, 0, 2, 2, 0], [1, 0, 2, 2, 0])
    assert iou == pytest.approx(1 / 3)
    assert [x, y, angle] == pytest.approx([2 * (1 + 1 / 3) / 6, 0, 0])
    assert [w, h] == pytest.approx([((1 + 1 / 3) * 1 - 2 / 3) / 6, ((1 + 1 / 3) / 2 - 2 / 3) / 6])
    # A square and itself turned by 45 degrees share a regular octagon.
    iou, gradient = one([7, 7, 3, 3, 0], [7, 7, 3, 3, math.pi / 4])
    assert iou == pytest.approx(math.sqrt(0.5))
    assert gradient[:2] == pytest.approx([0, 0])
    assert gradient[4] == pytest.approx(0)
    # A box within another: the union does not change.
    iou, gradient = one([0.5, 0, 2, 1, 0.7], [0, 0, 10, 10, 0.1])
    assert iou == pytest.approx(0.02)
    assert gradient == pytest.approx([0, 0, 0.01, 0.02, 0])
    # A box around another: the smaller, the better.
    iou, gradient = one([0, 0, 10, 10, 0.1], [0.5, 0, 2, 1, 0.7])
    assert iou == pytest.approx(0.02)
    assert gradient == pytest.approx([0, 0, -0.002, -0.002, 0])


@both_ways
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equal_boxes_have_exactly_one_and_no_gradient(dtype, use_kernel):
    boxes = torch.cat(pairs(3000, dtype, aspect=8.0))
    gradients, _ = weighted_gradients(rotated_iou, boxes, boxes.clone())
    assert rotated_iou(boxes, boxes).eq(1).all()
    # The scale of a gradient next to the kink; that of the angle is about the aspect ratio.
    long, short = boxes[:, 2:4].amax(1), boxes[:, 2:4].amin(1)
    scale = torch.maximum(long / short, 1 / short)
    assert (gradients.abs().amax(1) / scale).max() <= 4 * torch.finfo(dtype).eps


@both_ways
@pytest.mark.parametrize("turns", [-3, -2, -1, 1, 2, 3])
def test_equal_boxes_of_another_convention_have_one(turns, use_kernel):
    boxes, _ = pairs(500)
    same = boxes.clone()
    same[:, 4] += turns * torch.pi / 2
    if turns % 2:
        same[:, 2:4] = same[:, 2:4].flip(1)
    torch.testing.assert_close(rotated_iou(boxes, same), torch.ones(500).double())


@both_ways
def test_touching_boxes_are_half_way_between_apart_and_overlapping(use_kernel):
    for target in ([4, 0, 2, 2, 0], [4, 0, 2, 2, math.pi]):
        iou, gradient = one([2, 0, 2, 2, 0], target)
        assert iou == pytest.approx(0, abs=1e-16)  # the float pi is not quite half a turn
        # Overlapping, a px to the right adds 2 px^2 to a union of 8; that counts half.
        assert gradient[0] == pytest.approx(0.5 * 2 / 8)
        assert gradient[2] == pytest.approx(0.5 * 1 / 8)
    assert one([2, 0, 2, 2, 0], [4, 2, 2, 2, 0])[0] == 0  # at a corner
    assert one([2, 0, 2, 2, 0], [4.5, 0, 2, 2, 0.1]) == (0, [0] * 5)


@both_ways
def test_degenerate_boxes_are_defined(use_kernel):
    for sides in ([0, 2], [2, 0], [0, 0], [-1, 2], [2, -3], [-1, -1]):
        iou, gradient = one([0, 0, *sides, 0.2], [0, 0, 4, 4, 0.4])
        assert iou == 0
        assert all(map(math.isfinite, gradient))
        assert one([0, 0, 4, 4, 0.4], [0, 0, *sides, 0.2])[0] == 0
        assert one([0, 0, *sides, 0.2], [0, 0, *sides, 0.2]) == (0, [0] * 5)
    # A line grows where growing adds to the overlap.
    _, gradient = one([0, 0, 0, 2, 0.2], [0, 0, 4, 4, 0.4])
    assert gradient == pytest.approx([0, 0, 2 / 16, 0, 0])


@both_ways
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", range(5))
def test_what_is_not_finite_stays_in_its_row(field, value, use_kernel):
    pred, target = pairs(70)
    expected, _ = weighted_gradients(rotated_iou, pred, target)
    iou = rotated_iou(pred, target)
    broken = pred.clone()
    broken[3, field] = value
    gradients, _ = weighted_gradients(rotated_iou, broken, target)
    assert rotated_iou(broken, target)[3].isnan()
    assert rotated_iou(target, broken)[3].isnan()
    rest = torch.arange(70) != 3
    torch.testing.assert_close(rotated_iou(broken, target)[rest], iou[rest])
    torch.testing.assert_close(gradients[rest], expected[rest])


@both_ways
@pytest.mark.parametrize("kept", [0.0, 0.1, 1.0])
def test_rows_outside_the_mask_are_not_looked_at(kept, use_kernel):
    pred, target = pairs(500)
    mask = torch.rand(500) < kept
    iou = rotated_iou(pred, target)
    gradients, _ = weighted_gradients(rotated_iou, pred, target)
    pred[~mask] = torch.nan
    target[~mask] = torch.inf
    masked, _ = weighted_gradients(lambda p, t: rotated_iou(p, t, mask=mask), pred, target)
    torch.testing.assert_close(
        rotated_iou(pred, target, mask=mask), torch.where(mask, iou, 0), rtol=0, atol=1e-15
    )
    torch.testing.assert_close(masked, torch.where(mask[:, None], gradients, 0))


@both_ways
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_nearly_parallel_boxes(dtype, use_kernel):
    angles = torch.cat([torch.zeros(1), torch.logspace(-20, -1, 77)]).to(dtype)
    for w, h, x in ((4.0, 2.0, 0.0), (100.0, 1.0, 0.0), (4.0, 2.0, 1.0), (4.0, 2.0, 4.0)):
        target = torch.tensor([[10.0, 20.0, w, h, 0.0]], dtype=dtype).repeat(len(angles), 1)
        pred = target.clone()
        pred[:, 0] += x
        pred[:, 4] += angles
        gradients, _ = weighted_gradients(rotated_iou, pred, target)
        expected = polygon_iou(pred, target)
        tolerance = (20 + w / h) * torch.finfo(dtype).eps
        torch.testing.assert_close(
            rotated_iou(pred, target).double(), expected, rtol=0, atol=tolerance
        )
        # The steepest is that of the angle, about half the aspect ratio.
        assert gradients.abs().max() < 3 * w / h


@both_ways
def test_a_small_box_far_from_the_middle_of_a_large_one_keeps_its_digits(use_kernel):
    pred = torch.tensor([[0.0, 0.0, 4096.0, 4096.0, 0.3]])
    angle = torch.linspace(0, 3, 50)
    target = torch.stack(
        [1000 * angle.cos(), 1000 * angle.sin(), 0 * angle + 2, 0 * angle + 1, angle]
    )
    iou = rotated_iou(pred.expand(50, 5), target.T)
    torch.testing.assert_close(iou, torch.full((50,), 2 / 4096**2), rtol=1e-6, atol=0)


sides = st.floats(-6, 6).map(lambda power: 10**power)
places = st.floats(-1e6, 1e6)
angles = st.floats(-10, 10)
any_box = st.tuples(places, places, sides, sides, angles)
near_box = st.tuples(*[st.floats(-2, 2)] * 2, *[st.floats(0.5, 4)] * 2, angles)


@both_ways
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(pred=any_box, target=any_box, same_place=st.booleans())
def test_every_finite_pair_has_a_finite_result(dtype, use_kernel, pred, target, same_place):
    if same_place:
        target = (*pred[:2], *target[2:])
    iou, gradient = one(pred, target, dtype)
    assert 0 <= iou <= 1
    assert all(map(math.isfinite, gradient))


@both_ways
@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(pred=near_box, target=near_box, scale=st.floats(-4, 4), turn=angles, far=places)
def test_invariances(use_kernel, pred, target, scale, turn, far):
    pred, target = (torch.tensor([box], dtype=torch.float64) for box in (pred, target))
    iou = rotated_iou(pred, target)

    def near(first, second):
        torch.testing.assert_close(rotated_iou(first, second), iou, rtol=0, atol=1e-7)

    near(target, pred)
    factors = torch.tensor([10**scale] * 4 + [1], dtype=torch.float64)
    near(pred * factors, target * factors)
    half = torch.tensor([0, 0, 0, 0, torch.pi], dtype=torch.float64)
    near(pred + half, target)
    near((pred + half / 2)[:, [0, 1, 3, 2, 4]], target)
    moved = torch.tensor([far, -far, 0, 0, 0], dtype=torch.float64)
    near(pred + moved, target + moved)
    cos, sin = math.cos(turn), math.sin(turn)
    matrix = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    near(*(torch.cat([b[:, :2] @ matrix.T, b[:, 2:4], b[:, 4:] + turn], 1) for b in (pred, target)))
