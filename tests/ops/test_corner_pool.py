"""corner_pool: the compiled op against its reference, mmcv, and torch's own checks."""

import shutil
import subprocess
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from mmext.ops import _extension, corner_pool
from mmext.ops.corner_pool import corner_pool_reference

CSRC = Path(__file__).parents[2] / "mmext" / "csrc"
MODES = ("top", "bottom", "left", "right")
DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Lengths around the width of a vector, more lines than fit a tile or a bundle, one element.
SIZES = [
    (2, 3, 4, 5),
    (1, 2, 17, 33),
    (2, 5, 40, 300),
    (3, 7, 1, 1),
    (1, 1, 1, 9),
    (1, 4, 9, 1),
    (2, 16, 31, 64),
    (6, 7),
    (2, 2, 2, 3, 4),
]
EMPTY = [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)]
needs_extension = pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
both_ways = pytest.mark.parametrize(
    "use_kernel", [pytest.param(True, marks=needs_extension), False]
)
each_mode = pytest.mark.parametrize("mode", MODES)


def numbers(size, dtype=torch.float32, seed=0, kind="distinct"):
    """Inputs that require gradients: all different, with ties, or with NaNs."""
    make = torch.Generator().manual_seed(seed)
    x = torch.randn(size, generator=make, dtype=torch.float64)
    if kind == "ties":
        x = (2 * x).round()
    if kind == "nan":
        x[torch.rand(size, generator=make) < 0.1] = torch.nan
    return x.to(dtype).requires_grad_()


def value_and_gradient(function, x, mode):
    """The result and the gradient of ``x`` for a random gradient of the result."""
    out = function(x, mode)
    make = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=make, dtype=torch.float64).to(out)
    return out.detach(), torch.autograd.grad(out, x, grad)[0]


def assert_same(actual, expected):
    """Values must be equal; gradients are sums whose order is free."""
    torch.testing.assert_close(actual[0], expected[0], rtol=0, atol=0, equal_nan=True)
    exact = expected[1].dtype == torch.float64
    tolerance = dict(rtol=1e-12, atol=1e-12) if exact else dict(rtol=1e-5, atol=1e-5)
    if expected[1].dtype in (torch.float16, torch.bfloat16):
        # Sums in float32 of two orders may round to neighbouring halves.
        tolerance["rtol"] = torch.finfo(expected[1].dtype).eps
    torch.testing.assert_close(actual[1], expected[1], **tolerance)


@needs_extension
@each_mode
@pytest.mark.parametrize("kind", ["distinct", "ties", "nan"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_kernel_equals_reference(size, dtype, kind, mode):
    x = numbers(size, dtype, kind=kind)
    assert_same(
        value_and_gradient(corner_pool, x, mode), value_and_gradient(corner_pool_reference, x, mode)
    )


@needs_extension
@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(st.data())
def test_kernel_equals_reference_for_random_shapes(data):
    size = data.draw(st.tuples(*[st.integers(0, high) for high in (3, 20, 40, 40)]))
    x = numbers(size, torch.float64, kind=data.draw(st.sampled_from(["distinct", "ties", "nan"])))
    if data.draw(st.booleans()):
        x = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    mode = data.draw(st.sampled_from(MODES))
    assert_same(
        value_and_gradient(corner_pool, x, mode), value_and_gradient(corner_pool_reference, x, mode)
    )


@both_ways
def test_a_hand_computed_case(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    x = torch.tensor([[1.0, 3.0, 2.0], [4.0, 0.0, 5.0]], requires_grad=True)
    grad = torch.tensor([[1.0, 10.0, 100.0], [1000.0, 1e4, 1e5]])
    expected = {
        "top": ([[4, 3, 5], [4, 0, 5]], [[0, 10, 0], [1001, 1e4, 100100]]),
        "bottom": ([[1, 3, 2], [4, 3, 5]], [[1, 10010, 100], [1000, 0, 1e5]]),
        "left": ([[3, 3, 2], [5, 5, 5]], [[0, 11, 100], [0, 0, 111000]]),
        "right": ([[1, 3, 3], [4, 4, 5]], [[1, 110, 0], [11000, 0, 1e5]]),
    }
    for mode, (values, gradient) in expected.items():
        out = corner_pool(x, mode)
        assert out.tolist() == values, mode
        assert torch.autograd.grad(out, x, grad)[0].tolist() == gradient, mode


@both_ways
@each_mode
def test_a_tie_credits_the_element_nearest_to_the_output(mode, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    x = torch.tensor([2.0, 1.0, 2.0, 0.0]).requires_grad_()
    line = x if mode in ("bottom", "right") else x.flip(0)
    image = line[:, None] if mode in ("top", "bottom") else line[None]
    corner_pool(image, mode).sum().backward()
    assert x.grad.tolist() == [2, 0, 2, 0]
    x.grad = None
    # After a ReLU: every zero is a maximum of its own.
    corner_pool(0 * image, mode).sum().backward()
    assert corner_pool(0 * image, mode).eq(0).all()


@both_ways
@each_mode
def test_a_nan_lasts_and_takes_the_gradient_until_the_next(mode, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    x = torch.tensor([3.0, torch.nan, torch.inf, torch.nan, 1.0, 2.0]).requires_grad_()
    line = x if mode in ("bottom", "right") else x.flip(0)
    image = line[:, None] if mode in ("top", "bottom") else line[None]
    out = corner_pool(image, mode)
    assert out.isnan().sum() == 5
    out.backward(torch.ones_like(out))
    assert x.grad.tolist() == [1, 2, 0, 3, 0, 0]


@both_ways
@each_mode
@pytest.mark.parametrize("infinity", [torch.inf, -torch.inf])
def test_infinities_are_numbers(infinity, mode, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    x = torch.full((2, 3, 5), infinity, requires_grad=True)
    out = corner_pool(x, mode)
    assert out.equal(x)
    assert torch.autograd.grad(out, x, torch.ones_like(out))[0].eq(1).all()


@each_mode
@pytest.mark.parametrize("kind", ["distinct", "ties"])
def test_equals_mmcv(kind, mode):
    mmcv_ops = pytest.importorskip("mmcv.ops", reason="mmcv's ops are not installed")
    x = numbers((2, 4, 13, 18), kind=kind)
    theirs = mmcv_ops.CornerPool(mode)
    assert_same(
        value_and_gradient(corner_pool, x, mode),
        value_and_gradient(lambda x, mode: theirs(x), x, mode),
    )


@both_ways
@each_mode
def test_gradcheck(mode, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    make = torch.Generator().manual_seed(0)
    x = torch.randperm(2 * 5 * 6, generator=make).reshape(2, 5, 6)
    x = x.to(torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: corner_pool(x, mode), x)
    assert torch.autograd.gradgradcheck(lambda x: corner_pool(x, mode).square(), x, atol=1e-3)


@each_mode
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@needs_extension
def test_opcheck(layout, mode):
    x = numbers((2, 3, 5, 6)).detach().to(memory_format=layout).requires_grad_()
    torch.library.opcheck(torch.ops.mmext.corner_pool.default, (x, mode))
    grad = numbers((2, 3, 5, 6), seed=1)
    torch.library.opcheck(torch.ops.mmext._corner_pool_backward.default, (grad, x.detach(), mode))


@needs_extension
def test_opcheck_other_ranks():
    for size in ((5, 6), (2, 2, 3, 4, 5)):
        torch.library.opcheck(torch.ops.mmext.corner_pool.default, (numbers(size), "left"))


@each_mode
def test_compiles_without_graph_breaks(mode):
    x = numbers((2, 3, 7, 9))
    compiled = torch.compile(corner_pool, fullgraph=True, backend="aot_eager", dynamic=True)
    assert_same(value_and_gradient(compiled, x, mode), value_and_gradient(corner_pool, x, mode))


class Pool(torch.nn.Module):
    def forward(self, x):
        return corner_pool(corner_pool(x, "top"), "left")


@needs_extension
def test_exports():
    x = numbers((2, 3, 7, 9)).detach()
    sizes = {2: torch.export.Dim("height", min=2), 3: torch.export.Dim("width", min=2)}
    program = torch.export.export(Pool(), (x,), dynamic_shapes=(sizes,))
    assert "mmext.corner_pool" in program.graph_module.code
    other = numbers((2, 3, 11, 6)).detach()
    assert program.module()(other).equal(Pool()(other))


@both_ways
@each_mode
@pytest.mark.parametrize("size", EMPTY)
def test_empty_inputs(size, mode, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    out, grad = value_and_gradient(corner_pool, numbers(size), mode)
    assert out.shape == grad.shape == size


@each_mode
def test_non_contiguous_inputs(mode):
    x = numbers((2, 3, 7, 9))
    strided = torch.stack([x.detach(), x.detach()], -1)[..., 0].requires_grad_()
    assert not strided.is_contiguous()
    grad = torch.ones(1, 1, 1, 1).expand(x.shape)
    for function in (corner_pool, lambda x, mode: corner_pool(x.mT.contiguous().mT, mode)):
        (actual,) = torch.autograd.grad(function(strided, mode), strided, grad)
        (expected,) = torch.autograd.grad(corner_pool(x, mode), x, grad)
        assert function(strided, mode).equal(corner_pool(x, mode))
        torch.testing.assert_close(actual, expected)


@needs_extension
@each_mode
def test_channels_last_is_kept(mode):
    x = numbers((2, 5, 7, 9))
    last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    result = value_and_gradient(corner_pool, last, mode)
    assert all(value.is_contiguous(memory_format=torch.channels_last) for value in result)
    assert_same(result, value_and_gradient(corner_pool, x, mode))


@both_ways
def test_half_gradients_are_summed_in_float32(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    # 4096 ones: a sum in float16 stops at 2048, one in bfloat16 at 256.
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.zeros(1, 4096, dtype=dtype)
        x[0, 0] = 1
        x.requires_grad_()
        corner_pool(x, "right").sum().backward()
        assert x.grad.dtype == dtype
        assert x.grad[0, 0] == 4096


@both_ways
def test_autocast_keeps_the_dtype(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    with torch.autocast("cpu", torch.bfloat16):
        for dtype in (torch.float32, torch.bfloat16):
            x = numbers((2, 3, 4, 5), dtype)
            out = corner_pool(x, "top")
            assert out.dtype == dtype
            out.sum().backward()
            assert x.grad.dtype == dtype


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_result_may_be_changed_in_place(layout):
    # An in-place ReLU follows in most networks; torch forbids it on a view made inside an op.
    x = numbers((2, 3, 7, 9)).detach().to(memory_format=layout).requires_grad_()
    assert_same(
        value_and_gradient(lambda x, mode: corner_pool(x, mode).relu_(), x, "top"),
        value_and_gradient(lambda x, mode: corner_pool(x, mode).relu(), x, "top"),
    )


@needs_extension
@each_mode
def test_several_threads_give_the_same(mode):
    x = numbers((3, 7, 65, 150))
    threads = torch.get_num_threads()
    expected = value_and_gradient(corner_pool, x, mode)
    torch.set_num_threads(3)
    try:
        result = value_and_gradient(corner_pool, x, mode)
    finally:
        torch.set_num_threads(threads)
    assert result[0].equal(expected[0])
    assert result[1].equal(expected[1])


@needs_extension
def test_inference_mode():
    x = numbers((2, 3, 7, 9)).detach()
    with torch.inference_mode():
        assert corner_pool(x.clone(), "left").equal(corner_pool_reference(x, "left"))


@pytest.mark.parametrize(
    ("x", "mode", "message"),
    [
        (torch.zeros(1, 1, 2, 2), "up", "mode must be one of top, bottom, left, right, got 'up'"),
        (torch.zeros(4), "top", r"x must be \(\.\.\., H, W\), got \(4,\)"),
        (torch.zeros(2, 2, dtype=torch.int64), "top", "x must be floating point, got torch.int64"),
    ],
)
def test_bad_arguments_are_named(x, mode, message):
    with pytest.raises(ValueError, match=message):
        corner_pool(x, mode)


@needs_extension
def test_a_direct_call_with_wrong_arguments_is_stopped():
    x = torch.zeros(2, 3)
    with pytest.raises(RuntimeError, match="got up"):
        torch.ops.mmext.corner_pool(x, "up")
    with pytest.raises(RuntimeError, match="at least 2 dimensions"):
        torch.ops.mmext.corner_pool(x[0], "top")
    with pytest.raises(RuntimeError, match="grad has shape"):
        torch.ops.mmext._corner_pool_backward(x[:1], x, "top")


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc (a CUDA toolkit) is not installed")
def test_cuda_kernels_compile_without_torch(tmp_path):
    source = CSRC / "corner_pool" / "corner_pool.cu"
    command = ["nvcc", "-std=c++20", f"-I{CSRC}", "-c", source, "-o", tmp_path / "corner_pool.o"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@each_mode
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", ["distinct", "ties", "nan"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_equals_cpu(dtype, kind, layout, mode):
    x = numbers((2, 5, 70, 45), dtype, kind=kind).detach().to(memory_format=layout)
    on_gpu = x.cuda().requires_grad_()
    result = value_and_gradient(corner_pool, on_gpu, mode)
    assert_same(
        tuple(value.cpu() for value in result),
        value_and_gradient(corner_pool, x.requires_grad_(), mode),
    )
