"""biased_attention: the compiled op against torch's attention, and torch's own checks."""

import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from mmext.ops import _extension, biased_attention
from mmext.ops.biased_attention import biased_attention_reference

# Windows, queries, keys, channels, heads: usual ones, counts that fill no block, more windows than
# a chunk has, one element.
SIZES = [
    (5, 64, 64, 32, 2),
    (3, 49, 49, 36, 4),
    (2, 5, 10, 3, 1),
    (70, 16, 32, 24, 3),
    (1, 1, 1, 1, 1),
]
needs_extension = pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
both_ways = pytest.mark.parametrize(
    "use_kernel", [pytest.param(True, marks=needs_extension), False]
)


def operands(size, dtype=torch.float64, seed=0):
    """Queries, keys, values and bias that require gradients."""
    windows, queries, keys, channels, heads = size
    make = torch.Generator().manual_seed(seed)
    sizes = [(windows, count, channels) for count in (queries, keys, keys)]
    sizes.append((heads, queries, keys))
    tensors = [2 * torch.randn(size, generator=make, dtype=torch.float64) for size in sizes]
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def value_and_gradients(function, tensors, heads):
    """The result and all gradients for a random gradient of the result."""
    out = function(*tensors, heads)
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
    tensors, heads = operands(size), size[-1]
    expected = value_and_gradients(biased_attention_reference, tensors, heads)
    assert_close(value_and_gradients(biased_attention, tensors, heads), expected, 1e-14)
    # float32 is compared with float64.
    tensors = operands(size, torch.float32)
    doubles = [tensor.double() for tensor in tensors]
    expected = value_and_gradients(biased_attention_reference, doubles, heads)
    actual = value_and_gradients(biased_attention, tensors, heads)
    assert all(tensor.dtype == torch.float32 for tensor in actual)
    assert_close([tensor.double() for tensor in actual], expected, 4e-6)


@needs_extension
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.tuples(*[st.integers(1, high) for high in (34, 20, 20, 19, 3)]))
def test_kernel_equals_reference_for_random_shapes(size):
    *counts, depth, heads = size
    tensors = operands((*counts, depth * heads, heads))
    assert_close(
        value_and_gradients(biased_attention, tensors, heads),
        value_and_gradients(biased_attention_reference, tensors, heads),
        1e-13,
    )


@both_ways
def test_a_hand_computed_case(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    q = torch.tensor([[[2.0, 0, 0, 0]]])
    k = torch.tensor([[[1.0, 5, 5, 5], [0, 5, 5, 5]]])
    v = torch.tensor([[[1.0, 2, 3, 4], [5, 6, 7, 8]]])
    # Two heads of two channels: logits sqrt(2), 0 and 0, 0.
    bias = torch.tensor([[[0.5, 1.0]], [[math.log(3), 0.0]]])
    first = math.exp(math.sqrt(2) + 0.5)
    first /= first + math.e
    weights = torch.tensor([first, first, 0.75, 0.75])
    expected = weights * v[0, 0] + (1 - weights) * v[0, 1]
    torch.testing.assert_close(biased_attention(q, k, v, bias, 2)[0, 0], expected)


@both_ways
def test_gradcheck(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    tensors = operands((3, 4, 5, 6, 2))
    assert torch.autograd.gradcheck(lambda *t: biased_attention(*t, 2), tensors)


@both_ways
def test_hidden_keys_have_no_part(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    q, k, v, bias = operands((2, 7, 9, 4, 2))
    with torch.no_grad():
        bias[:, 3:] -= 1e3  # far below all others, and all alike
        bias[..., 5:] = -torch.inf
        k[:, 5:] = 1e6
    whole = value_and_gradients(biased_attention, [q, k, v, bias], 2)
    cut = [t.detach().requires_grad_() for t in (q, k[:, :5], v[:, :5], bias[..., :5])]
    few = value_and_gradients(biased_attention, cut, 2)
    seen = [whole[0], whole[1], whole[2][:, :5], whole[3][:, :5], whole[4][..., :5]]
    assert_close(seen, few, 1e-12)
    assert all(t.eq(0).all() for t in (whole[2][:, 5:], whole[3][:, 5:], whole[4][..., 5:]))


@needs_extension
def test_large_logits_stay_finite():
    tensors = operands((2, 9, 9, 8, 2), torch.float32)
    with torch.no_grad():
        tensors[0] *= 1e4
    for tensor in value_and_gradients(biased_attention, tensors, 2):
        assert tensor.isfinite().all()


@needs_extension
@pytest.mark.parametrize("size", [(2, 3, 4, 6, 2), (1, 1, 1, 1, 1), (0, 3, 4, 6, 2)])
def test_opcheck(size):
    tensors, heads = operands(size, torch.float32), size[-1]
    torch.library.opcheck(torch.ops.mmext.biased_attention.default, (*tensors, heads))
    values = [tensor.detach() for tensor in tensors]
    grad = torch.randn(values[0].shape)
    backward = torch.ops.mmext._biased_attention_backward.default
    torch.library.opcheck(backward, (grad, *values, heads))


def test_compiles_without_graph_breaks():
    compiled = torch.compile(biased_attention, fullgraph=True, backend="aot_eager", dynamic=True)
    for size in ((2, 4, 5, 6, 2), (3, 7, 9, 6, 2)):
        tensors = operands(size)
        assert_close(
            value_and_gradients(compiled, tensors, 2),
            value_and_gradients(biased_attention, tensors, 2),
            1e-14,
        )


class Layer(torch.nn.Module):
    def forward(self, q, k, v, bias):
        return biased_attention(q, k, v, bias, 2)


@needs_extension
def test_exports():
    windows = {0: torch.export.Dim("windows", min=2)}
    tensors = [tensor.detach() for tensor in operands((3, 4, 5, 6, 2))]
    shapes = (windows, windows, windows, None)
    program = torch.export.export(Layer(), tuple(tensors), dynamic_shapes=shapes)
    assert "mmext.biased_attention" in program.graph_module.code
    tensors[:3] = (tensor.repeat(3, 1, 1) for tensor in tensors[:3])
    assert program.module()(*tensors).equal(Layer()(*tensors))


@needs_extension
def test_no_windows():
    out, *grads = value_and_gradients(biased_attention, operands((0, 3, 4, 6, 2)), 2)
    assert out.shape == (0, 3, 6)
    assert grads[-1].shape == (2, 3, 4)
    assert grads[-1].eq(0).all()


@needs_extension
def test_views_and_other_layouts():
    q, k, v, bias = (tensor.detach() for tensor in operands((3, 9, 9, 8, 2)))
    expected = value_and_gradients(biased_attention, operands((3, 9, 9, 8, 2)), 2)
    views = torch.cat((q, k, v), -1).chunk(3, -1)
    turned = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v)]
    for layouts in (views, turned):
        tensors = [t.detach().requires_grad_() for t in (*layouts, bias.mT.contiguous().mT)]
        assert not any(tensor.is_contiguous() for tensor in tensors)
        assert_close(value_and_gradients(biased_attention, tensors, 2), expected, 1e-14)
    out = biased_attention(*tensors, 2)
    grads = torch.autograd.grad(out, tensors, torch.ones(1).double().expand(out.shape))
    assert_close(grads, torch.autograd.grad(biased_attention(*tensors, 2).sum(), tensors), 0)


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype):
    *tokens, bias = operands((2, 5, 7, 6, 2), dtype)
    tensors = [*tokens, bias.float().detach().requires_grad_()]
    actual = value_and_gradients(biased_attention, tensors, 2)
    assert [t.dtype for t in actual] == [dtype] * 4 + [torch.float32]
    expected = value_and_gradients(biased_attention, [t.float() for t in tensors], 2)
    # The result and each gradient are rounded once.
    assert actual[0].equal(expected[0].to(dtype))
    assert_close([t.float() for t in actual], expected, torch.finfo(dtype).eps)


@needs_extension
def test_only_the_arguments_are_kept():
    tensors = operands((3, 9, 9, 8, 2))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        biased_attention(*tensors, 2)
    assert {t.data_ptr() for t in kept} == {t.data_ptr() for t in tensors}


@needs_extension
def test_several_threads_give_the_same():
    tensors = operands((90, 16, 16, 24, 3), torch.float32)
    threads = torch.get_num_threads()
    expected = value_and_gradients(biased_attention, tensors, 3)
    torch.set_num_threads(3)
    try:
        result = value_and_gradients(biased_attention, tensors, 3)
    finally:
        torch.set_num_threads(threads)
    assert all(one.equal(other) for one, other in zip(result, expected, strict=True))


@needs_extension
def test_a_nan_stays_in_its_window_and_head():
    q, k, v, bias = operands((3, 5, 5, 8, 2))
    with torch.no_grad():
        q[1, 2, 5] = torch.nan
    out, *grads = value_and_gradients(biased_attention, (q, k, v, bias), 2)
    assert out.isnan().nonzero().tolist() == [[1, 2, channel] for channel in range(4, 8)]
    for grad in grads[:3]:
        assert grad.isnan().nonzero()[:, 0].unique().tolist() == [1]
    assert grads[3].isnan().nonzero()[:, 0].unique().tolist() == [1]


@needs_extension
def test_second_derivatives_are_refused():
    tensors = operands((1, 3, 4, 2, 1))
    (grad,) = torch.autograd.grad(
        biased_attention(*tensors, 1).sum(), tensors[0], create_graph=True
    )
    with pytest.raises(RuntimeError, match="no second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize(
    ("sizes", "heads", "message"),
    [
        (((4, 6), (2, 5, 6), (2, 5, 6), (2, 4, 5)), 2, r"q and k must be \(n, N, C\)"),
        (((2, 4, 6), (3, 5, 6), (3, 5, 6), (2, 4, 5)), 2, r"k must be \(2, 5, 6\) to fit q"),
        (((2, 4, 6), (2, 5, 6), (2, 4, 6), (2, 4, 5)), 2, r"v must be \(2, 5, 6\) to fit q"),
        (((2, 4, 6), (2, 5, 6), (2, 5, 6), (1, 4, 5)), 2, r"bias must be \(2, 4, 5\) to fit q"),
        (((2, 4, 6), (2, 5, 6), (2, 5, 6), (4, 4, 5)), 4, "num_heads must divide the 6 channels"),
    ],
)
def test_bad_shapes_are_named(sizes, heads, message):
    with pytest.raises(ValueError, match=message):
        biased_attention(*(torch.zeros(size) for size in sizes), heads)


def test_bad_dtypes_and_devices_are_named():
    q, k, v, bias = (tensor.detach() for tensor in operands((2, 3, 4, 6, 2)))
    with pytest.raises(ValueError, match="k must be floating point"):
        biased_attention(q, k.long(), v, bias, 2)
    with pytest.raises(ValueError, match="bias is on meta, q on cpu"):
        biased_attention(q, k, v, bias.to("meta"), 2)


@needs_extension
def test_a_direct_call_with_wrong_arguments_is_stopped():
    q, k, v, bias = (tensor.detach() for tensor in operands((2, 3, 4, 6, 2)))
    ops = torch.ops.mmext
    with pytest.raises(RuntimeError, match="q must be"):
        ops.biased_attention(q[0], k, v, bias, 2)
    with pytest.raises(RuntimeError, match="k must be"):
        ops.biased_attention(q, k[1:], v[1:], bias, 2)
    with pytest.raises(RuntimeError, match="v must be"):
        ops.biased_attention(q, k, v[:, 1:], bias, 2)
    with pytest.raises(RuntimeError, match="bias must be"):
        ops.biased_attention(q, k, v, bias[1:], 2)
    with pytest.raises(RuntimeError, match="num_heads must divide"):
        ops.biased_attention(q, k, v, bias, 0)
    with pytest.raises(RuntimeError, match="grad has shape"):
        ops._biased_attention_backward(q[:, 1:], q, k, v, bias, 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_equals_cpu():
    tensors = operands((9, 16, 16, 24, 3))
    on_gpu = [tensor.detach().cuda().requires_grad_() for tensor in tensors]
    result = value_and_gradients(biased_attention, on_gpu, 3)
    assert_close(
        [t.cpu() for t in result], value_and_gradients(biased_attention, tensors, 3), 1e-12
    )
