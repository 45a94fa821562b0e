"""gaussian_distance: what torch asks of an op, arguments, the CUDA kernels."""

import math
import shutil
import subprocess
from pathlib import Path

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

CSRC = Path(__file__).parents[2] / "mmext" / "csrc"


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
    together = torch.ops.mmext._gaussian_distance_with_gradients.default
    scale = torch.ops.mmext._scale_gradient.default
    pred, target = pred.detach(), target.detach()
    for mask in ([True, True], [True, False], [False, True]):
        inputs = (pred, target, weight, *settings(kind), mask)
        torch.library.opcheck(backward, (torch.ones(20), *inputs))
        # Rows of weight 0 are left as they are by this one.
        torch.library.opcheck(together, (pred, target, weight + 1, *settings(kind), mask))
    torch.library.opcheck(scale, (torch.ones(20), pred, weight))


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
def test_only_the_gradients_asked_for_are_computed_and_kept():
    pred, target = boxes(40)
    kept, calls = [], []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            calls.append((str(func), args[-1]))
            return func(*args, **(kwargs or {}))

    with (
        Watch(),
        torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: kept.append(tensor.shape) or tensor, lambda tensor: tensor
        ),
    ):
        out = gaussian_distance(pred, target.detach(), weight=weights(40))
    name = "mmext._gaussian_distance_with_gradients.default"
    assert [asked for func, asked in calls if func == name] == [[True, False]]
    assert kept == [(40, 5), (40, 5), (40,), (40, 5)]  # boxes, weights, gradient of pred
    out.sum().backward()
    assert target.grad is None
    assert pred.grad.any()
    calls.clear()
    with Watch(), torch.no_grad():
        gaussian_distance(pred, target)
    assert [func for func, _ in calls if "mmext" in func] == ["mmext.gaussian_distance.default"]


@needs_extension
def test_the_gradient_can_be_asked_for_twice():
    pred, target = boxes(300)
    weight = weights(300)
    out = gaussian_distance(pred, target, weight=weight)
    once = torch.autograd.grad(out.sum(), pred, retain_graph=True)[0]
    grad = torch.linspace(-1, 2, 300, dtype=torch.float64)
    twice = torch.autograd.grad(out, pred, grad, retain_graph=True)[0]
    torch.testing.assert_close(twice, grad[:, None] * once)
    # With a graph of its own it is computed again.
    again = torch.autograd.grad(out, pred, grad, create_graph=True)[0]
    assert again.requires_grad
    torch.testing.assert_close(again.detach(), twice, rtol=1e-14, atol=0)


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
