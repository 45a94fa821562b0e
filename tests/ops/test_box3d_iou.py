"""box3d_iou: golden pairs, hand-computed cases, gradients, degenerate boxes, bad input."""

import math

import numpy as np
import pytest
import torch
from point_samples import DATA, golden
from rotated_iou_samples import (
    _chosen_way,  # noqa: F401 (a fixture of every test)
    both_ways,
    needs_extension,
)

from mmext.ops import box3d_iou
from mmext.ops.box3d_iou import box3d_iou_reference


def boxes(count, dtype=torch.float64, seed=0, room=3.0):
    """(count, 7) boxes of 0.3 to 2 m, most of which overlap another."""
    make = torch.Generator().manual_seed(seed)
    draw = torch.rand(count, 7, generator=make, dtype=torch.float64)
    draw[:, :3] *= room
    draw[:, 3:6] = 0.3 + 1.7 * draw[:, 3:6]
    draw[:, 6] = 8 * (draw[:, 6] - 0.5)
    return draw.to(dtype)


def weighted_gradients(function, a, b, seed=1):
    """Gradients of both sets for random upstream gradients."""
    make = torch.Generator().manual_seed(seed)
    a, b = a.clone().requires_grad_(), b.clone().requires_grad_()
    out = function(a, b)
    grad = torch.randn(out.shape, generator=make, dtype=torch.float64)
    return torch.cat(torch.autograd.grad(out, (a, b), grad.to(out)))


def one(a, b, dtype=torch.float64):
    """The IoU of one pair and the gradient of the first box, as numbers."""
    a = torch.tensor([a], dtype=dtype, requires_grad=True)
    iou = box3d_iou(a, torch.tensor([b], dtype=dtype))
    (gradient,) = torch.autograd.grad(iou.sum(), a)
    return iou.item(), gradient[0].tolist()


@both_ways
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", ["rot", "aa"])
def test_golden_ious(kind, dtype, use_kernel):
    data = golden("iou3d.npz")
    iou = box3d_iou(data[f"{kind}_a"].to(dtype), data[f"{kind}_b"].to(dtype))
    assert iou.gt(0).float().mean() > 0.02
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(iou.double(), data[f"{kind}_iou3d"], rtol=0, atol=tolerance)


@both_ways
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_golden_special_pairs(dtype, use_kernel):
    data = golden("iou3d.npz")
    names = np.load(DATA / "iou3d.npz")["special_names"].tolist()
    a, b = (data[f"special_{which}"].to(dtype) for which in "ab")
    result = box3d_iou(a, b).diagonal()
    for name, iou, expected in zip(names, result.tolist(), data["special_iou3d"], strict=True):
        tolerance = 1e-12 if dtype == torch.float64 else 2e-7
        if name == "far_from_origin":
            # A kilometre away float32 holds no more than 0.06 mm of a coordinate.
            tolerance = 1e-10 if dtype == torch.float64 else 5e-5
        assert iou == pytest.approx(expected.item(), abs=tolerance), name
    assert result[names.index("identical")] == 1
    # What the rounded boxes share is exact at any distance from the origin.
    torch.testing.assert_close(
        result.double(), box3d_iou(a.double(), b.double()).diagonal(), rtol=0, atol=2e-6
    )


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("sizes", [(1, 1), (3, 70), (130, 64)])
def test_kernel_equals_reference(sizes, dtype):
    a, b = boxes(sizes[0], dtype), boxes(sizes[1], dtype, seed=1)
    a[0] = b[0]
    tolerance = dict(rtol=1e-10, atol=1e-11)
    if dtype == torch.float32:
        tolerance = dict(rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(box3d_iou(a, b), box3d_iou_reference(a, b), **tolerance)
    torch.testing.assert_close(
        weighted_gradients(box3d_iou, a, b),
        weighted_gradients(box3d_iou_reference, a, b),
        **tolerance,
    )


@both_ways
def test_gradients_equal_finite_differences(use_kernel):
    a, b, step = boxes(12), boxes(9, seed=1), 1e-6
    gradients = weighted_gradients(box3d_iou, a, b)
    upstream = torch.randn(12, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    both = torch.cat([a, b])
    for row in range(21):
        for field in range(7):
            move = torch.zeros_like(both)
            move[row, field] = step
            after, before = (
                box3d_iou(*moved.split([12, 9])) for moved in (both + move, both - move)
            )
            expected = (upstream * (after - before)).sum() / (2 * step)
            assert gradients[row, field].item() == pytest.approx(expected.item(), abs=1e-7)


@both_ways
def test_gradcheck(use_kernel):
    a, b = boxes(5).requires_grad_(), boxes(4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(box3d_iou, (a, b))


@both_ways
def test_hand_computed_cases(use_kernel):
    # Cubes of 2 m, one raised by 1 m: 4 of 12 m^3. Up: 4 m^2 of overlap less, which counts twice.
    iou, gradient = one([0, 0, 0, 2, 2, 2, 0], [0, 0, 1, 2, 2, 2, 0])
    assert iou == pytest.approx(1 / 3)
    assert gradient[2] == pytest.approx(4 * (1 + 1 / 3) / 12)
    assert gradient[5] == pytest.approx((2 * (1 + 1 / 3) - 4 / 3) / 12)
    # Twice as tall: half is shared, and growing adds to the union alone.
    iou, gradient = one([0, 0, 0, 2, 2, 4, 0.3], [0, 0, 0, 2, 2, 2, 0.3])
    assert iou == pytest.approx(1 / 2)
    assert gradient[5] == pytest.approx(-0.5 * 4 / 16)
    # One square turned by 45 degrees: an octagon, times shared heights of 1 of 3 m.
    iou, _ = one([5, 5, 5, 2, 2, 2, 0], [5, 5, 6, 2, 2, 2, math.pi / 4])
    octagon = 8 * (math.sqrt(2) - 1)
    assert iou == pytest.approx(octagon / (16 - octagon))


@both_ways
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("scale", "place"), [(1, 0), (1e-3, 0), (1, 1000), (1e-3, 1000), (1e3, 0)])
def test_equal_boxes_have_exactly_one_and_no_gradient(scale, place, dtype, use_kernel):
    same = boxes(200)
    same[:, :6] *= scale
    same[:, :3] += place
    same = same.to(dtype)
    assert box3d_iou(same, same.clone()).diagonal().eq(1).all()
    alone, other = same[:1].clone().requires_grad_(), same[:1].clone()
    box3d_iou(alone, other).sum().backward()
    assert alone.grad.abs().max() <= 32 * torch.finfo(dtype).eps * max(1, 1 / scale)


@both_ways
def test_touching_boxes_share_nothing_and_have_half_the_gradient(use_kernel):
    iou, gradient = one([0, 0, 0, 2, 2, 2, 0], [0, 0, 2, 2, 2, 2, 0])
    assert iou == 0
    assert gradient[2] == pytest.approx(0.5 * 4 / 16)
    assert one([0, 0, 0, 2, 2, 2, 0], [2, 0, 0, 2, 2, 2, 0])[0] == 0
    assert one([0, 0, 0, 2, 2, 2, 0], [0, 0, 2.001, 2, 2, 2, 0]) == (0, [0] * 7)
    assert one([0, 0, 0, 2, 2, 2, 0], [9, 0, 0, 2, 2, 2, 0]) == (0, [0] * 7)


@both_ways
def test_a_small_box_within_a_large_one_keeps_its_digits(use_kernel):
    large = torch.tensor([[0.0, 0, 0, 8, 8, 4, 0.3]])
    small = torch.tensor([[1.0, 2, 1.9, 1e-3, 2e-3, 3e-3, 1.0]])
    assert box3d_iou(large, small).item() == pytest.approx(6e-9 / 256, rel=1e-5)


@both_ways
@pytest.mark.parametrize(
    "sizes", [(0, 2, 2), (2, 0, 2), (2, 2, 0), (0, 0, 0), (-1, 2, 2), (2, 2, -1)]
)
def test_boxes_without_volume_are_defined(sizes, use_kernel):
    flat, cube = [0, 0, 0, *sizes, 0.2], [0, 0, 0, 3, 3, 3, 0.1]
    for pair in ((flat, cube), (cube, flat), (flat, flat)):
        iou, gradient = one(*pair)
        assert iou == 0
        assert all(map(math.isfinite, gradient))


@both_ways
@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("field", range(7))
def test_what_is_not_finite_stays_in_its_row(field, value, use_kernel):
    a, b = boxes(4), boxes(70, seed=1, room=30.0)
    expected = box3d_iou(a, b)
    a[2, field] = value
    iou = box3d_iou(a, b)
    assert iou[2].isnan().all()
    rest = torch.tensor([0, 1, 3])
    torch.testing.assert_close(iou[rest], expected[rest])
    assert box3d_iou(b, a)[:, 2].isnan().all()


@both_ways
def test_invariances(use_kernel):
    a, b = boxes(20), boxes(20, seed=1)
    iou = box3d_iou(a, b)

    def near(first, second):
        torch.testing.assert_close(box3d_iou(first, second), iou, rtol=0, atol=1e-9)

    turn = torch.tensor([0, 0, 0, 0, 0, 0, torch.pi], dtype=torch.float64)
    near(a + turn, b)
    near((a + turn / 2)[:, [0, 1, 2, 4, 3, 5, 6]], b)
    near(a, b - turn)
    move = torch.tensor([100.0, -200, 300, 0, 0, 0, 0], dtype=torch.float64)
    near(a + move, b + move)
    scale = torch.tensor([1e-3] * 6 + [1], dtype=torch.float64)
    near(a * scale, b * scale)
    torch.testing.assert_close(box3d_iou(b, a).T, iou, rtol=0, atol=1e-12)


@both_ways
def test_layouts_dtypes_and_empty_sets(use_kernel):
    a, b = boxes(6), boxes(5, seed=1)
    iou = box3d_iou(a, b)
    assert box3d_iou(a.T.contiguous().T, torch.stack([b, b], -1)[..., 0]).equal(iou)
    for dtype in (torch.float16, torch.bfloat16):
        half = a.to(dtype), b.to(dtype)
        assert box3d_iou(*half).equal(box3d_iou(half[0].float(), half[1].float()).to(dtype))
        assert weighted_gradients(box3d_iou, *half).dtype == dtype
    assert box3d_iou(a.float(), b).dtype == torch.float64
    for first, second in ((a[:0], b), (a, b[:0]), (a[:0], b[:0])):
        first, second = first.clone().requires_grad_(), second.clone().requires_grad_()
        result = box3d_iou(first, second)
        assert result.shape == (len(first), len(second))
        result.sum().backward()
        assert first.grad.eq(0).all()
        assert second.grad.eq(0).all()


@needs_extension
def test_opcheck():
    a, b = boxes(6, torch.float32), boxes(5, torch.float32, seed=1)
    torch.library.opcheck(
        torch.ops.mmext.box3d_iou.default, (a.clone().requires_grad_(), b.clone().requires_grad_())
    )
    for wanted in ([True, True], [True, False], [False, True]):
        torch.library.opcheck(
            torch.ops.mmext._box3d_iou_backward.default, (torch.randn(6, 5), a, b, wanted)
        )


@needs_extension
def test_compiles_without_graph_breaks():
    compiled = torch.compile(box3d_iou, fullgraph=True, backend="aot_eager", dynamic=True)
    for count in (5, 8):
        a, b = boxes(count), boxes(6, seed=1)
        torch.testing.assert_close(
            weighted_gradients(compiled, a, b), weighted_gradients(box3d_iou, a, b)
        )


class _Best(torch.nn.Module):
    def forward(self, pred, target):
        return box3d_iou(pred, target).amax(1)


@needs_extension
def test_exports():
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(
        _Best(), (boxes(6), boxes(5, seed=1)), dynamic_shapes=({0: rows}, None)
    )
    assert "mmext.box3d_iou" in program.graph_module.code
    other = boxes(9), boxes(5, seed=1)
    assert program.module()(*other).equal(_Best()(*other))


@needs_extension
def test_several_threads_give_the_same():
    a, b = boxes(300), boxes(200, seed=1)
    expected = box3d_iou(a, b), weighted_gradients(box3d_iou, a, b)
    torch.set_num_threads(3)  # the fixture of all tests sets it back
    assert box3d_iou(a, b).equal(expected[0])
    assert weighted_gradients(box3d_iou, a, b).equal(expected[1])


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(2, 6), torch.zeros(2, 7), r"boxes_a must be \(N, 7\) .* got \(2, 6\)"),
        (torch.zeros(2, 7), torch.zeros(7), r"boxes_b must be \(N, 7\) .* got \(7,\)"),
        (torch.zeros(2, 7).int(), torch.zeros(2, 7), "boxes_a must be floating point"),
        (torch.zeros(2, 7), torch.zeros(2, 7, device="meta"), "boxes_b is on meta"),
    ],
)
def test_bad_arguments_are_named(a, b, message):
    with pytest.raises(ValueError, match=message):
        box3d_iou(a, b)


@needs_extension
def test_a_direct_call_with_wrong_arguments_is_stopped():
    box = torch.zeros(2, 7)
    with pytest.raises(RuntimeError, match=r"must be \(N, 7\)"):
        torch.ops.mmext.box3d_iou(box, box[:, :5])
    with pytest.raises(RuntimeError, match="one dtype and device"):
        torch.ops.mmext.box3d_iou(box, box.double())
    with pytest.raises(RuntimeError, match="grad has shape"):
        torch.ops.mmext._box3d_iou_backward(torch.zeros(2, 3), box, box, [True, True])
