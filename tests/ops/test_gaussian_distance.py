"""gaussian_distance: the compiled op against its reference, and what holds for all boxes.

Exact numbers are compared in test_gaussian_distance_golden.py, what torch asks of an op is in
test_gaussian_distance_op.py.
"""

import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from gaussian_pairs import (
    DISTANCES,
    LOSSES,
    both_ways,
    boxes,
    each_format,
    each_kind,
    needs_extension,
    weights,
    with_gradients,
)

from mmext.ops import _extension, gaussian_distance
from mmext.ops.gaussian_distance import KINDS


@needs_extension
@each_format
@pytest.mark.parametrize("options", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
# Fewer than a vector, around a block, several blocks.
@pytest.mark.parametrize("count", [1, 7, 127, 128, 129, 1000])
def test_kernel_equals_reference(count, dtype, options, columns, monkeypatch):
    pred, target = boxes(count, columns, dtype)
    for kind in [options["kind"]] if "kind" in options else DISTANCES:
        for weight in (None, weights(count, dtype)):
            case = dict(options, kind=kind, weight=weight)
            monkeypatch.setattr(_extension, "LOADED", True)
            results = with_gradients(pred, target, **case)
            monkeypatch.setattr(_extension, "LOADED", False)
            tolerance = dict(rtol=1e-9, atol=1e-10) if dtype == torch.float64 else {}
            for result, expected in zip(results, with_gradients(pred, target, **case), strict=True):
                tolerance = tolerance or dict(rtol=1e-4, atol=2e-5)
                torch.testing.assert_close(result, expected, **tolerance)


@both_ways
def test_hand_computed_cases(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred = torch.tensor([[0.0, 0, 4, 2, 0]], dtype=torch.float64)
    target = torch.tensor([[2.0, 1, 8, 2, 0]], dtype=torch.float64)
    ln2 = math.log(2)
    expected = {
        "gwd": 5 + 4,  # squared offset, (2 - 4)^2 of half sides
        "kld": 2 * (4 / 16 + 1 / 4) + 0.5 * (4 - 1 - 2 * ln2),
        "kld_pt": 2 * (4 / 64 + 1 / 4) + 0.5 * (1 / 4 - 1 + 2 * ln2),
        "bcd": (4 / 20 + 1 / 2) / 4 + 0.5 * math.log(20 / 16),
        "probiou": 3 * (4 / 20 + 1 / 2) / 4 + 0.5 * math.log(20 / 16),
        # Overlap of 4 x 2 and 8 x 2: covariance diag(16/5, 1/2), so 4 sqrt(det).
        "kfiou": 4 * math.sqrt(1.6) / (8 + 16 - 4 * math.sqrt(1.6)),
    }
    expected["kld_min"] = min(expected["kld"], expected["kld_pt"])
    expected["kld_max"] = max(expected["kld"], expected["kld_pt"])
    expected["jeffreys"] = expected["kld"] + expected["kld_pt"]
    expected["js"] = 2 * expected["bcd"]
    assert set(expected) == set(KINDS)
    horizontal = [torch.tensor([box], dtype=torch.float64) for box in ([-2, -1, 2, 1],)]
    horizontal.append(torch.tensor([[-2.0, 0, 6, 2]], dtype=torch.float64))
    for kind, value in expected.items():
        assert gaussian_distance(pred, target, kind).item() == pytest.approx(value, rel=1e-14)
        assert gaussian_distance(*horizontal, kind).item() == pytest.approx(value, rel=1e-14)
    root = gaussian_distance(pred, target, "gwd", normalize=True, sqrt=True, tau=2.0)
    normalized = 3 / (4 * 2 * 8 * 2) ** 0.25
    assert root.item() == pytest.approx(1 - 1 / (2 + normalized), rel=1e-14)


# ---- what holds for all boxes ----

sides = st.floats(-6, 6).map(lambda exponent: 10**exponent)
positions = st.floats(-1e6, 1e6)
angles = st.floats(-10, 10)
rotated_boxes = st.tuples(positions, positions, sides, sides, angles)
moderate = st.tuples(
    st.floats(-100, 100), st.floats(-100, 100), st.floats(1, 100), st.floats(1, 100), angles
)
many = hypothesis.settings(max_examples=200, deadline=None)


def tensor_of(*rows, dtype=torch.float64):
    return torch.tensor(rows, dtype=dtype)


@many
@hypothesis.given(rotated_boxes, rotated_boxes, st.sampled_from([torch.float32, torch.float64]))
def test_finite_for_all_boxes(p, t, dtype):
    pred, target = (tensor_of(box, dtype=dtype).requires_grad_() for box in (p, t))
    for kind in KINDS:
        for value in with_gradients(pred, target, kind):
            assert value.isfinite().all(), kind
        out = gaussian_distance(pred, target, kind)
        assert 0 <= out <= (1 / 3 + 1e-6 if kind == "kfiou" else math.inf), kind


@both_ways
@each_kind
@each_format
def test_zero_sides_have_a_finite_loss_and_a_gradient(columns, kind, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    # FCOS clamps distances to edges at 0: one side, the other, both; in pixels and in strides.
    target = tensor_of([30, 20, 12, 5, 0.3], dtype=torch.float32).repeat(6, 1)
    pred = target.clone() + 1
    pred[::3, 2] = pred[1::3, 3] = pred[2::3, 2] = pred[2::3, 3] = 0
    pred[3:, :4] /= 128
    target[3:, :4] /= 128
    if columns == 4:
        pred, target = (
            torch.cat([b[:, :2] - b[:, 2:4] / 2, b[:, :2] + b[:, 2:4] / 2], 1)
            for b in (pred, target)
        )
    pred, target = pred.requires_grad_(), target.requires_grad_()
    for options in [dict()] if kind == "kfiou" else [dict(), dict(fun="log1p", tau=1.0)]:
        results = with_gradients(pred, target, kind, **options)
        assert all(value.isfinite().all() for value in results)
    # To be larger is better; the loss says so although the sides are below the floor. (Autograd
    # makes of the overlap of a point, 1e-24, the square.)
    grad = torch.autograd.grad(gaussian_distance(pred, target, kind).sum(), pred)[0]
    if columns == 5 and (use_kernel or kind != "kfiou"):
        grown = -grad if kind != "kfiou" else grad
        assert (grown[:, 2][pred[:, 2] == 0] > 0).all()
        assert (grown[:, 3][pred[:, 3] == 0] > 0).all()


@many
@hypothesis.given(moderate, moderate)
def test_zero_if_and_only_if_equal(p, t):
    pred, target = tensor_of(p), tensor_of(t)
    differ = (pred - target)[0, :4].abs().max() > 1e-3
    for kind in DISTANCES:
        equal = gaussian_distance(pred, pred, kind).item()
        assert 0 <= equal < 1e-28, kind
        assert not differ or gaussian_distance(pred, target, kind) > 1e-12, kind
    assert gaussian_distance(pred, pred, "kfiou").item() == pytest.approx(1 / 3)


@many
@hypothesis.given(moderate, moderate, st.booleans(), st.booleans())
def test_other_names_of_a_box_are_the_same(p, t, of_pred, half_turn):
    pred, target = tensor_of(p), tensor_of(t)
    box = (pred if of_pred else target).clone()
    if half_turn:
        box[0, 4] += math.pi
    else:
        box = box[:, [0, 1, 3, 2, 4]]
        box[0, 4] += math.pi / 2
    for kind in KINDS:
        renamed = (box, target) if of_pred else (pred, box)
        torch.testing.assert_close(
            gaussian_distance(*renamed, kind),
            gaussian_distance(pred, target, kind),
            rtol=1e-9,
            atol=1e-11,
        )


@many
@hypothesis.given(moderate, moderate, st.floats(-3, 3))
def test_most_distances_do_not_depend_on_the_scale(p, t, exponent):
    pred, target = tensor_of(p), tensor_of(t)
    scale = tensor_of([10**exponent] * 4 + [1])
    for kind in KINDS:
        value = gaussian_distance(pred, target, kind)
        scaled = gaussian_distance(pred * scale, target * scale, kind)
        if kind == "gwd":
            scaled = scaled / 10 ** (2 * exponent)
        torch.testing.assert_close(scaled, value, rtol=1e-9, atol=1e-12)
    options = dict(kind="gwd", normalize=True, sqrt=True)
    torch.testing.assert_close(
        gaussian_distance(pred * scale, target * scale, **options),
        gaussian_distance(pred, target, **options),
        rtol=1e-9,
        atol=1e-7,
    )


@both_ways
@each_kind
def test_squares_have_no_angle(kind, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred = tensor_of([0, 0, 8, 8, 0.4]).requires_grad_()
    target = tensor_of([3, 1, 8, 8, 1.1]).requires_grad_()
    out, grad_pred, grad_target = with_gradients(pred, target, kind)
    straight = target.detach() * tensor_of([1, 1, 1, 1, 0])
    assert out.item() == pytest.approx(gaussian_distance(pred, straight, kind).item(), rel=1e-12)
    assert abs(grad_pred[0, 4]) < 1e-12
    assert abs(grad_target[0, 4]) < 1e-12


@both_ways
@pytest.mark.parametrize("options", [dict(sqrt=True), dict(fun="sqrt"), dict(fun="hellinger")])
@pytest.mark.parametrize("kind", DISTANCES)
def test_a_root_of_nothing_has_no_gradient(kind, options, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred = tensor_of([3, 4, 8, 8, 0.4], dtype=torch.float32).requires_grad_()
    results = with_gradients(pred, pred.detach().clone().requires_grad_(), kind, **options)
    assert all(not value.any() for value in results)


# ---- weights and bad boxes ----


@both_ways
@each_kind
@each_format
def test_rows_of_weight_zero_are_nothing_whatever_they_hold(columns, kind, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred, target = boxes(300, columns, torch.float32)
    weight = weights(300, torch.float32)
    clean = with_gradients(pred, target, kind, weight=weight)
    dead = weight == 0
    with torch.no_grad():
        for boxes_ in (pred, target):
            boxes_[dead] = torch.tensor([math.nan, math.inf, -math.inf, -5.0])[
                torch.arange(int(dead.sum())) % 4
            ][:, None]
    for value, expected in zip(
        with_gradients(pred, target, kind, weight=weight), clean, strict=True
    ):
        assert value.equal(expected)
        assert not value[dead].any()
        assert value[~dead].any()


@both_ways
def test_all_weights_zero(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred, target = (torch.full((300, 5), math.nan, requires_grad=True) for _ in range(2))
    results = with_gradients(pred, target, weight=torch.zeros(300))
    assert all(not value.any() for value in results)


@both_ways
def test_weights_are_factors(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred, target = boxes(50)
    weight = weights(50)
    plain = gaussian_distance(pred, target, fun="log1p", tau=1.0)
    weighted = gaussian_distance(pred, target, fun="log1p", tau=1.0, weight=weight)
    torch.testing.assert_close(weighted, weight * plain)
    torch.testing.assert_close(
        torch.autograd.grad(weighted.sum(), pred), torch.autograd.grad(plain, pred, weight)
    )


@both_ways
@each_format
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, "negative"])
@pytest.mark.parametrize("which", [0, 1])
def test_boxes_without_a_meaning_are_refused(which, bad, columns, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pair = boxes(300, columns, torch.float32)
    weight = torch.ones(300)
    for row in (200, 277):
        pair[which].data[row, 2] = bad if bad != "negative" else -5.0
    with pytest.raises(ValueError, match=r"pred\[200\].*target\[200\].*reg_decoded_bbox"):
        gaussian_distance(*pair)
    weight[200] = 0
    with pytest.raises(ValueError, match=r"pred\[277\] or target\[277\] has a negative side"):
        gaussian_distance(*pair, weight=weight)
    weight[277] = 0
    assert gaussian_distance(*pair, weight=weight).isfinite().all()


def test_the_compiled_reference_answers_nan(monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", False)
    pred, target = boxes(3, dtype=torch.float32)
    pred.data[1, 2] = -1.0
    compiled = torch.compile(gaussian_distance, fullgraph=True, backend="aot_eager")
    assert compiled(pred, target).isnan().tolist() == [False, True, False]
