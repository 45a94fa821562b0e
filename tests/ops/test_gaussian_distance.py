"""gaussian_distance: the compiled op against its reference, and what holds for all boxes.

Exact numbers are compared in test_gaussian_distance_golden.py.
"""

import math
import shutil
import subprocess
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from mmext.ops import _extension, gaussian_distance
from mmext.ops.gaussian_distance import KINDS

CSRC = Path(__file__).parents[2] / "mmext" / "csrc"
DISTANCES = tuple(kind for kind in KINDS if kind != "kfiou")
needs_extension = pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
both_ways = pytest.mark.parametrize(
    "use_kernel", [pytest.param(True, marks=needs_extension), False]
)
each_kind = pytest.mark.parametrize("kind", KINDS)
each_format = pytest.mark.parametrize("columns", [4, 5])
LOSSES = [
    dict(),
    dict(fun="log1p", tau=1.0),
    dict(sqrt=True, fun="log1p", tau=2.0, scale=0.5),
    dict(fun="hellinger"),
    dict(kind="gwd", normalize=True, sqrt=True, alpha=2.0),
    dict(kind="kld", alpha=0.5, fun="sqrt"),
]


def boxes(count, columns=5, dtype=torch.float64, seed=0):
    """Predictions near their targets, both of which require gradients."""
    make = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.rand(*size, generator=make, dtype=torch.float64)  # noqa: E731
    centres, sides = 100 * draw(count, 2), 5 + 40 * draw(count, 2)
    target = torch.cat([centres, sides, 6 * draw(count, 1) - 3], 1)
    pred = target + torch.tensor([4, 4, 3, 3, 0.5]) * (draw(count, 5) - 0.5)
    if columns == 4:
        pred, target = (
            torch.cat([box[:, :2] - box[:, 2:4] / 2, box[:, :2] + box[:, 2:4] / 2], 1)
            for box in (pred, target)
        )
    return pred.to(dtype).requires_grad_(), target.to(dtype).requires_grad_()


def weights(count, dtype=torch.float64, seed=1):
    """Factors of which about a third are 0."""
    make = torch.Generator().manual_seed(seed)
    weight = torch.rand(count, generator=make, dtype=torch.float64)
    return weight.where(weight > 0.3, 0).to(dtype)


def with_gradients(pred, target, kind="kld", **options):
    """The result, and the gradients of both boxes for a random gradient of the result."""
    out = gaussian_distance(pred, target, kind, **options)
    grad = torch.linspace(-1, 2, len(out), dtype=out.dtype)
    return out.detach(), *torch.autograd.grad(out, (pred, target), grad)


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


# ---- what torch asks of an op ----


@both_ways
@each_format
@each_kind
def test_gradcheck(kind, columns, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pair = boxes(3, columns)
    case = dict(weight=torch.tensor([1.0, 0, 2], dtype=torch.float64))
    case |= dict(fun="neg_log") if kind == "kfiou" else dict(sqrt=True, fun="log1p", tau=1.0)
    call = lambda p, t: gaussian_distance(p, t, kind, **case)  # noqa: E731
    assert torch.autograd.gradcheck(call, pair)
    assert torch.autograd.gradgradcheck(call, pair, atol=1e-4, fast_mode=True)


@both_ways
def test_gradcheck_normalized(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pair = boxes(4)
    assert torch.autograd.gradcheck(
        lambda p, t: gaussian_distance(p, t, "gwd", normalize=True, alpha=2.0), pair
    )


def settings(kind="kld"):
    return kind, 1.0, False, 1.0, False, "none", 0.0


@needs_extension
@each_format
@each_kind
def test_opcheck(kind, columns):
    pred, target = boxes(20, columns, torch.float32)
    weight = weights(20, torch.float32)
    op = torch.ops.mmext.gaussian_distance.default
    torch.library.opcheck(op, (pred, target, weight, *settings(kind)))
    torch.library.opcheck(op, (pred, target.detach(), None, *settings(kind)))
    backward = torch.ops.mmext._gaussian_distance_backward.default
    inputs = (pred.detach(), target.detach(), weight, *settings(kind))
    for mask in ([True, True], [True, False], [False, True]):
        torch.library.opcheck(backward, (torch.ones(20), *inputs, mask))


def assert_compiles(pairs, kind, **options):
    """Compare compiled with eager results; ``pairs`` are sizes that one graph must serve."""
    torch.compiler.reset()
    compiled = torch.compile(gaussian_distance, fullgraph=True, backend="aot_eager", **options)
    for pred, target in pairs:
        case = dict(weight=weights(len(pred)))
        out = compiled(pred, target, kind, **case)
        expected = gaussian_distance(pred, target, kind, **case)
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(
            torch.autograd.grad(out.sum(), (pred, target)),
            torch.autograd.grad(expected.sum(), (pred, target)),
        )


@needs_extension
@each_format
@pytest.mark.parametrize("kind", ["gwd", "kfiou"])
def test_compiles_without_graph_breaks(kind, columns):
    assert_compiles([boxes(9, columns), boxes(30, columns)], kind, dynamic=True)


@pytest.mark.parametrize("kind", ["gwd", "kld_max", "probiou", "kfiou"])
def test_the_reference_compiles_without_graph_breaks(kind, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", False)
    assert_compiles([boxes(9)], kind)


class Loss(torch.nn.Module):
    def forward(self, pred, target):
        return gaussian_distance(pred, target, "gwd", sqrt=True, fun="log1p").sum()


@needs_extension
def test_exports():
    pair = tuple(tensor.detach() for tensor in boxes(9))
    rows = {0: torch.export.Dim("rows")}
    program = torch.export.export(Loss(), pair, dynamic_shapes=(rows, rows))
    assert "mmext.gaussian_distance" in program.graph_module.code
    pair = tuple(tensor.detach() for tensor in boxes(21))
    assert program.module()(*pair).equal(Loss()(*pair))


@both_ways
@each_format
def test_empty(columns, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pair = [torch.empty(0, columns, requires_grad=True) for _ in range(2)]
    for weight in (None, torch.empty(0)):
        out, *grads = with_gradients(*pair, weight=weight)
        assert out.shape == (0,)
        assert all(grad.shape == (0, columns) for grad in grads)


@both_ways
def test_strides(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred, target = boxes(300)
    weight = weights(300)
    expected = gaussian_distance(pred, target, weight=weight)
    columns_first = [tensor.detach().T.contiguous().T for tensor in (pred, target)]
    assert not columns_first[0].is_contiguous()
    torch.testing.assert_close(gaussian_distance(*columns_first, weight=weight), expected)
    spread = torch.stack([weight, weight], 1)[:, 1]
    torch.testing.assert_close(gaussian_distance(pred, target, weight=spread), expected)
    one = torch.full((1,), 0.5, dtype=torch.float64).expand(300)
    halves = gaussian_distance(pred, target, weight=one)
    torch.testing.assert_close(halves, gaussian_distance(pred, target) / 2)
    (by_sum,) = torch.autograd.grad(expected.sum(), pred)  # a gradient of stride 0
    expected = gaussian_distance(pred, target, weight=weight)
    grad = torch.ones(600, dtype=torch.float64)[::2]
    assert torch.autograd.grad(expected, pred, grad)[0].equal(by_sum)


@both_ways
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_boxes_are_computed_in_float32(dtype, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred, target = boxes(40, dtype=dtype)
    weight = weights(40, dtype)
    out, *grads = with_gradients(pred, target, weight=weight)
    assert out.dtype == torch.float32
    wide = [tensor.detach().float().requires_grad_() for tensor in (pred, target)]
    expected, *expected_grads = with_gradients(*wide, weight=weight.float())
    assert out.equal(expected)
    for grad, expected_grad in zip(grads, expected_grads, strict=True):
        assert grad.equal(expected_grad.to(dtype))


@both_ways
@each_kind
def test_autocast_lowers_nothing(kind, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred, target = boxes(40, dtype=torch.float32)
    expected = with_gradients(pred, target, kind)
    with torch.autocast("cpu", torch.bfloat16):
        results = with_gradients(pred, target, kind)
        mixed = gaussian_distance(pred.bfloat16(), target, kind, weight=torch.ones(40).half())
    for result, value in zip(results, expected, strict=True):
        assert result.dtype == torch.float32
        assert result.equal(value)
    assert mixed.dtype == torch.float32


@needs_extension
def test_only_the_gradients_asked_for_and_only_the_inputs_kept():
    pred, target = boxes(40)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor
    ):
        out = gaussian_distance(pred, target.detach(), weight=weights(40))
    assert len(kept) == 3  # the two boxes and the weights
    calls = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "backward" in str(func):
                calls.append(args[-1])
            return func(*args, **(kwargs or {}))

    with Watch():
        out.sum().backward()
    assert calls == [[True, False]]
    assert target.grad is None
    assert pred.grad.any()


@needs_extension
def test_several_threads_give_the_same():
    pred, target = boxes(20001, dtype=torch.float32)
    weight = weights(20001, torch.float32)
    torch.set_num_threads(1)
    expected = with_gradients(pred, target, weight=weight)
    torch.set_num_threads(3)
    for value, one in zip(with_gradients(pred, target, weight=weight), expected, strict=True):
        assert value.equal(one)


def test_inference_mode():
    pred, target = boxes(9)
    with torch.inference_mode():
        out = gaussian_distance(pred.detach().clone(), target.detach().clone())
    assert out.equal(gaussian_distance(pred, target).detach())


# ---- arguments ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(kind="iou"), "kind must be one of gwd, kld, .*, got 'iou'"),
        (dict(fun="log"), "fun must be one of none, log1p, sqrt, hellinger for kld, got 'log'"),
        (dict(kind="kfiou", fun="log1p"), "fun must be one of none, one_minus, neg_log, expm1"),
        (dict(tau=-1.0), "tau must be 0 or at least 1, got -1"),
        (dict(tau=0.5), "tau must be 0 or at least 1, got 0.5"),
        (dict(tau=math.nan), "tau must be 0 or at least 1, got nan"),
        (dict(alpha=0.0), "alpha must be positive, got 0"),
        (dict(scale=math.inf), "scale must be positive, got inf"),
        (dict(kind="bcd", alpha=2.0), "alpha=2.0 has no meaning for bcd, only for gwd, kld"),
        (dict(normalize=True), "normalize is for gwd; kld has no scale"),
        (dict(kind="kfiou", sqrt=True), "kfiou is a similarity"),
        (dict(pred=torch.zeros(3, 6)), r"pred must be \(N, 5\).*got \(3, 6\)"),
        (dict(pred=torch.zeros(5)), r"pred must be \(N, 5\).*got \(5,\)"),
        (dict(pred=torch.zeros(3, 5).long()), "pred must be floating point, got torch.int64"),
        (dict(target=torch.ones(2, 5)), r"target must be \(3, 5\) to fit pred.*got \(2, 5\)"),
        (dict(target=torch.ones(3, 4)), r"target must be \(3, 5\) to fit pred.*got \(3, 4\)"),
        (dict(target=torch.ones(3, 5).double()), "target is torch.float64, pred torch.float32"),
        (dict(target=torch.ones(3, 5, device="meta")), "target is on meta, pred on cpu"),
        (dict(weight=torch.ones(3, 1)), r"weight must be \(3,\) to fit pred.*got \(3, 1\)"),
        (dict(weight=torch.ones(3).bool()), "weight is torch.bool, pred torch.float32"),
        (dict(weight=torch.ones(3, requires_grad=True)), "weight has no gradient here; detach"),
    ],
)
def test_bad_arguments_are_named(change, message):
    arguments = dict(pred=torch.ones(3, 5), target=torch.ones(3, 5)) | change
    with pytest.raises(ValueError, match=message):
        gaussian_distance(**arguments)


@needs_extension
def test_a_direct_call_with_wrong_arguments_is_stopped():
    op, good = torch.ops.mmext.gaussian_distance, torch.ones(3, 5)
    for pred, target, weight, message in (
        (good[:, :3], good, None, "must be"),
        (good.half(), good, None, "must be float or double"),
        (good, good[:2], None, "target must be like pred"),
        (good, good.double(), None, "target must be like pred"),
        (good, good, good, "weight must be"),
    ):
        with pytest.raises(RuntimeError, match=message):
            op(pred, target, weight, *settings())
    with pytest.raises(RuntimeError, match="unknown kind iou"):
        op(good, good, None, *settings("iou"))
    backward = torch.ops.mmext._gaussian_distance_backward
    with pytest.raises(RuntimeError, match="grad has shape"):
        backward(torch.ones(2), good, good, None, *settings(), [True, True])


# ---- CUDA ----


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc (a CUDA toolkit) is not installed")
def test_cuda_kernels_compile_without_torch(tmp_path):
    source = CSRC / "gaussian_distance" / "gaussian_distance.cu"
    command = ["nvcc", "-std=c++20", f"-I{CSRC}", "-c", source, "-o", tmp_path / "kernels.o"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_format
@pytest.mark.parametrize("options", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_cuda_equals_cpu(dtype, options, columns):
    pred, target = boxes(1000, columns, dtype)
    on_gpu = [tensor.detach().cuda().requires_grad_() for tensor in (pred, target)]
    weight = weights(1000, dtype)
    for kind in [options["kind"]] if "kind" in options else DISTANCES:
        case = dict(options, kind=kind)
        out = gaussian_distance(*on_gpu, weight=weight.cuda(), **case)
        grad = torch.linspace(-1, 2, 1000, dtype=dtype, device="cuda")
        results = (out.detach(), *torch.autograd.grad(out, on_gpu, grad))
        tolerance = (
            dict(rtol=1e-9, atol=1e-10) if dtype == torch.float64 else dict(rtol=1e-4, atol=2e-5)
        )
        for result, expected in zip(
            results, with_gradients(pred, target, weight=weight, **case), strict=True
        ):
            torch.testing.assert_close(result.cpu(), expected, **tolerance)
