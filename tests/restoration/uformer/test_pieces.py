"""Layers in pieces give the values of the whole; training keeps less and has torch's gradients."""

import pytest
import torch
from torch.nn import functional

from mmext.restoration.uformer import feed_forward, pieces
from mmext.restoration.uformer.attention import WindowAttention, attend, window_attention
from mmext.restoration.uformer.feed_forward import FeedForward, LeFF
from mmext.restoration.uformer.windows import window_layout


def limit(monkeypatch, numel):
    monkeypatch.setattr(pieces, "_PIECE_NUMEL", numel // torch.get_num_threads())


def apply(layer, x):
    if isinstance(layer, WindowAttention):
        layout = window_layout(tuple(x.shape[:3]), 8, 4, x.device)
        return window_attention(layer, x, layout)
    return feed_forward.feed_forward(layer, x)


LAYERS = {
    "attention": lambda: WindowAttention(4, 2, 8, "linear", modulator=True),
    "leff": lambda: LeFF(4),
    "ffn": lambda: FeedForward(4),
}


@pytest.fixture(params=LAYERS)
def layer(request):
    layer = LAYERS[request.param]().double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


# One window or row at a time, several rows, several images.
@pytest.mark.parametrize("numel", [1, 16 * 4 * 24 * 3, 16 * 20 * 24 * 2])
def test_values_are_those_of_the_whole(layer, numel, monkeypatch):
    x = torch.randn(5, 20, 24, 4, dtype=torch.double)
    with torch.no_grad():
        limit(monkeypatch, 10**9)
        whole = apply(layer, x)
        limit(monkeypatch, numel)
        torch.testing.assert_close(apply(layer, x), whole)


def reference(layer, x):
    """A LeFF in one line of torch's own functions."""
    hidden = functional.gelu(layer.fc1(layer.norm(x))).permute(0, 3, 1, 2)
    return layer.fc2(functional.gelu(layer.dwconv(hidden)).permute(0, 2, 3, 1))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_gradients_of_leff_are_those_of_torch(dtype, monkeypatch):
    limit(monkeypatch, 100 * 16)  # tokens at a time
    layer, x = LeFF(4), torch.randn(2, 13, 21, 4, requires_grad=True)
    results = []
    for function in (reference, feed_forward.feed_forward):
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            out = function(layer, x)
        assert out.dtype == (dtype or torch.float32)
        results.append(torch.autograd.grad(out.float().square().sum(), (x, *layer.parameters())))
    precision = 0.02 if dtype else 1e-6
    for one, other in zip(*results, strict=True):
        assert one.dtype == torch.float32
        atol = precision * one.abs().max().item()
        torch.testing.assert_close(one, other, rtol=0, atol=atol)


def test_frozen_parameters_and_inputs():
    layer = LeFF(4)
    layer.fc1.requires_grad_(False)
    layer.dwconv.requires_grad_(False)
    feed_forward.feed_forward(layer, torch.randn(1, 8, 8, 4)).sum().backward()
    assert layer.fc1.weight.grad is None
    assert layer.dwconv.weight.grad is None
    assert layer.fc2.weight.grad is not None
    layer.requires_grad_(False)
    x = torch.randn(1, 8, 8, 4, requires_grad=True)
    feed_forward.feed_forward(layer, x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_two_wide_maps_are_kept():
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t
    ):
        feed_forward.feed_forward(LeFF(4), torch.randn(1, 32, 32, 4, requires_grad=True))
    assert sorted(t.numel() for t in kept.values())[-3:] == [32 * 32 * 4, *[32 * 32 * 16] * 2]


@pytest.mark.parametrize("keys", [4, 8])
def test_gradients_of_attention_with_a_bias(keys, monkeypatch):
    limit(monkeypatch, 2 * 4 * keys)  # a window at a time
    tokens = [torch.randn(3, n, 4, dtype=torch.double, requires_grad=True) for n in (4, keys, keys)]
    bias = torch.randn(2, 4, keys, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, k, v, b: attend(q, k, v, 2, b), (*tokens, bias))


def test_second_derivatives_are_refused():
    x = torch.randn(1, 8, 8, 4, requires_grad=True)
    q, bias = torch.randn(1, 4, 4, requires_grad=True), torch.randn(1, 4, 4, requires_grad=True)
    for out, leaf in ((apply(LeFF(4), x), x), (attend(q, q, q, 1, bias), q)):
        (grad,) = torch.autograd.grad(out.square().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match=r"once_differentiable|no second derivative"):
            grad.sum().backward()
