"""gelu_dwconv_gelu: the compiled op against torch's three functions, and torch's own checks."""

import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch.nn import functional

from mmext.ops import _extension, gelu_dwconv_gelu
from mmext.ops.gelu_dwconv_gelu import gelu_dwconv_gelu_reference

# More rows, columns and channels than a tile has, counts that fill no vector, one element.
SIZES = [(2, 5, 7, 3), (1, 70, 35, 20), (1, 9, 66, 72), (3, 8, 8, 64), (1, 1, 1, 1), (1, 3, 1, 130)]
EMPTY = [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5)]
needs_extension = pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
both_ways = pytest.mark.parametrize(
    "use_kernel", [pytest.param(True, marks=needs_extension), False]
)


def operands(size, dtype=torch.float64, seed=0):
    """Maps, weight and bias that require gradients."""
    make = torch.Generator().manual_seed(seed)
    channels = size[-1]
    sizes = (size, (channels, 1, 3, 3), (channels,))
    tensors = [torch.randn(size, generator=make, dtype=torch.float64) for size in sizes]
    tensors[0] *= 3  # both tails of the error function
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def value_and_gradients(function, tensors):
    """The result and all gradients for a random gradient of the result."""
    out = function(*tensors)
    make = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=make, dtype=torch.float64).to(out)
    return [out.detach(), *torch.autograd.grad(out, tensors, grad)]


def assert_close(actual, expected, precision):
    """Compare with an error relative to the largest number of each tensor."""
    for one, other in zip(actual, expected, strict=True):
        atol = precision * max(other.abs().max().item(), 1) if other.numel() else 0
        torch.testing.assert_close(one, other, rtol=0, atol=atol)


@needs_extension
@pytest.mark.parametrize("size", SIZES)
def test_kernel_equals_reference(size):
    tensors = operands(size)
    expected = value_and_gradients(gelu_dwconv_gelu_reference, tensors)
    assert_close(value_and_gradients(gelu_dwconv_gelu, tensors), expected, 1e-14)
    # float32 is compared with float64.
    tensors = operands(size, torch.float32)
    expected = value_and_gradients(gelu_dwconv_gelu_reference, [t.double() for t in tensors])
    actual = value_and_gradients(gelu_dwconv_gelu, tensors)
    assert all(tensor.dtype == torch.float32 for tensor in actual)
    assert_close([tensor.double() for tensor in actual], expected, 2e-6)


@needs_extension
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.tuples(*[st.integers(1, high) for high in (2, 68, 36, 70)]))
def test_kernel_equals_reference_for_random_shapes(size):
    tensors = operands(size)
    assert_close(
        value_and_gradients(gelu_dwconv_gelu, tensors),
        value_and_gradients(gelu_dwconv_gelu_reference, tensors),
        1e-13,
    )


@needs_extension
def test_precision_of_gelu_in_float32():
    x = torch.linspace(-12, 12, 100001)
    x = torch.cat([x, torch.tensor([5.5, -5.5, 0.0, 1e-30, 1e5, -1e5, 3e38])])[:, None, None, None]
    x.requires_grad_()
    weight = torch.zeros(1, 1, 3, 3)
    weight[..., 1, 1] = 1
    exact = functional.gelu(x.double())
    out = gelu_dwconv_gelu(x, weight, torch.zeros(1))
    expected = functional.gelu(exact)
    assert ((out - expected).abs() <= 2.5e-7 * expected.abs().clamp(min=1)).all()
    (grad,) = torch.autograd.grad(out[:-3].sum(), x)
    (expected,) = torch.autograd.grad(expected[:-3].sum(), x)
    torch.testing.assert_close(grad, expected, rtol=0, atol=1e-6)


@both_ways
def test_a_hand_computed_case(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    x = torch.zeros(1, 2, 2, 1)
    x[0, 0, 1, 0] = 1
    weight = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    bias = torch.tensor([0.5])

    def gelu(value):
        return value * (1 + math.erf(value / math.sqrt(2))) / 2

    # Where the one is in the neighbourhood of each output: right, middle, upper right, above.
    weights = [[6, 5], [3, 2]]
    expected = [[gelu(w * gelu(1.0) + 0.5) for w in row] for row in weights]
    out = gelu_dwconv_gelu(x, weight, bias)
    torch.testing.assert_close(out[0, ..., 0], torch.tensor(expected))


@both_ways
def test_gradcheck(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    assert torch.autograd.gradcheck(gelu_dwconv_gelu, operands((2, 3, 4, 2)))


@needs_extension
@pytest.mark.parametrize("size", [(2, 3, 4, 5), (1, 2, 2, 1), EMPTY[0]])
def test_opcheck(size):
    tensors = operands(size, torch.float32)
    torch.library.opcheck(torch.ops.mmext.gelu_dwconv_gelu.default, tensors)
    values = [tensor.detach() for tensor in tensors]
    grad = torch.randn(size)
    torch.library.opcheck(torch.ops.mmext._gelu_dwconv_gelu_backward.default, (grad, *values))


def test_compiles_without_graph_breaks():
    compiled = torch.compile(gelu_dwconv_gelu, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in ((2, 3, 4, 5), (1, 6, 7, 5)):
        tensors = operands(size)
        assert_close(
            value_and_gradients(compiled, tensors),
            value_and_gradients(gelu_dwconv_gelu, tensors),
            1e-14,
        )


class Layer(torch.nn.Module):
    def forward(self, x, weight, bias):
        return gelu_dwconv_gelu(x, weight, bias)


@needs_extension
def test_exports():
    sizes = {1: torch.export.Dim("height", min=2), 2: torch.export.Dim("width", min=2)}
    tensors = [tensor.detach() for tensor in operands((2, 3, 4, 5))]
    program = torch.export.export(Layer(), tuple(tensors), dynamic_shapes=(sizes, None, None))
    assert "mmext.gelu_dwconv_gelu" in program.graph_module.code
    tensors[0] = tensors[0].repeat(1, 3, 2, 1)
    assert program.module()(*tensors).equal(Layer()(*tensors))


@needs_extension
@pytest.mark.parametrize("size", EMPTY)
def test_empty_inputs(size):
    out, grad, *of_weights = value_and_gradients(gelu_dwconv_gelu, operands(size))
    assert out.shape == grad.shape == size
    assert all(tensor.eq(0).all() for tensor in of_weights)


@needs_extension
def test_non_contiguous_inputs():
    x, weight, bias = (tensor.detach() for tensor in operands((2, 9, 7, 5)))
    expected = value_and_gradients(gelu_dwconv_gelu, operands((2, 9, 7, 5)))
    layouts = [
        x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
        weight.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        torch.stack([bias, bias], -1)[:, 0],
    ]
    assert not any(tensor.is_contiguous() for tensor in layouts)
    layouts = [tensor.requires_grad_() for tensor in layouts]
    assert_close(value_and_gradients(gelu_dwconv_gelu, layouts), expected, 1e-14)
    out = gelu_dwconv_gelu(*layouts)
    grads = torch.autograd.grad(out, layouts, torch.ones(1).double().expand(out.shape))
    same = torch.autograd.grad(gelu_dwconv_gelu(*layouts).sum(), layouts)
    assert_close(grads, same, 0)


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype):
    tensors = operands((2, 5, 7, 9), dtype)
    actual = value_and_gradients(gelu_dwconv_gelu, tensors)
    assert all(tensor.dtype == dtype for tensor in actual)
    expected = value_and_gradients(gelu_dwconv_gelu, [tensor.float() for tensor in tensors])
    # The result and each gradient are rounded once.
    assert actual[0].equal(expected[0].to(dtype))
    assert_close([t.float() for t in actual], expected, torch.finfo(dtype).eps)


@both_ways
def test_autocast(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    x, weight, bias = operands((2, 3, 4, 5), torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        out = gelu_dwconv_gelu(x.to(torch.bfloat16), weight, bias)
    assert out.dtype == torch.bfloat16
    grads = torch.autograd.grad(out.float().sum(), (x, weight, bias))
    assert [grad.dtype for grad in grads] == [torch.float32] * 3


@needs_extension
def test_only_the_input_is_kept():
    tensors = operands((2, 9, 7, 5))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        gelu_dwconv_gelu(*tensors)
    assert {t.data_ptr() for t in kept} == {t.data_ptr() for t in tensors}


def test_result_may_be_changed_in_place():
    tensors = operands((2, 3, 4, 5))
    assert_close(
        value_and_gradients(lambda *t: gelu_dwconv_gelu(*t).relu_(), tensors),
        value_and_gradients(lambda *t: gelu_dwconv_gelu(*t).relu(), tensors),
        0,
    )


@needs_extension
def test_several_threads_give_the_same():
    tensors = operands((3, 70, 40, 100), torch.float32)
    threads = torch.get_num_threads()
    expected = value_and_gradients(gelu_dwconv_gelu, tensors)
    torch.set_num_threads(3)
    try:
        result = value_and_gradients(gelu_dwconv_gelu, tensors)
    finally:
        torch.set_num_threads(threads)
    assert all(one.equal(other) for one, other in zip(result, expected, strict=True))


@needs_extension
def test_a_nan_stays_in_its_channel_and_neighbourhood():
    x, weight, bias = operands((1, 80, 40, 70), torch.float32)
    with torch.no_grad():
        x[0, 70, 10, 66] = torch.nan
    out, grad, grad_weight, _ = value_and_gradients(gelu_dwconv_gelu, (x, weight, bias))
    assert out.isnan().sum() == 9
    assert out[0, 69:72, 9:12, 66].isnan().all()
    assert grad.isnan().sum() == 25
    assert grad_weight.isnan().flatten(1).any(1).nonzero().tolist() == [[66]]


@needs_extension
def test_second_derivatives_are_refused():
    x, weight, bias = operands((1, 3, 4, 5))
    out = gelu_dwconv_gelu(x, weight, bias)
    (grad,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (((3, 4, 5), (5, 1, 3, 3), (5,)), r"x must be \(B, H, W, C\), got \(3, 4, 5\)"),
        (((1, 3, 4, 5), (5, 1, 5, 5), (5,)), r"weight must be \(5, 1, 3, 3\) to fit x"),
        (((1, 3, 4, 5), (5, 1, 3, 3), (4,)), r"bias must be \(5,\) to fit x"),
    ],
)
def test_bad_shapes_are_named(sizes, message):
    with pytest.raises(ValueError, match=message):
        gelu_dwconv_gelu(*(torch.zeros(size) for size in sizes))


def test_bad_dtypes_are_named():
    x, weight, bias = (tensor.detach() for tensor in operands((1, 3, 4, 5)))
    with pytest.raises(ValueError, match="x must be floating point"):
        gelu_dwconv_gelu(x.long(), weight, bias)
    with pytest.raises(ValueError, match="bias is on meta, x on cpu"):
        gelu_dwconv_gelu(x, weight, bias.to("meta"))


@needs_extension
def test_a_direct_call_with_wrong_arguments_is_stopped():
    x, weight, bias = (tensor.detach() for tensor in operands((1, 3, 4, 5)))
    ops = torch.ops.mmext
    with pytest.raises(RuntimeError, match="x must be"):
        ops.gelu_dwconv_gelu(x[0], weight, bias)
    with pytest.raises(RuntimeError, match="weight must be"):
        ops.gelu_dwconv_gelu(x, weight[1:], bias)
    with pytest.raises(RuntimeError, match="bias must be"):
        ops.gelu_dwconv_gelu(x, weight, bias[1:])
    with pytest.raises(RuntimeError, match="grad has shape"):
        ops._gelu_dwconv_gelu_backward(x[:, 1:], x, weight, bias)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu():
    tensors = operands((2, 13, 21, 40))
    on_gpu = [tensor.detach().cuda().requires_grad_() for tensor in tensors]
    result = value_and_gradients(gelu_dwconv_gelu, on_gpu)
    assert_close([t.cpu() for t in result], value_and_gradients(gelu_dwconv_gelu, tensors), 1e-12)
