"""Layers in pieces: the values and gradients of the whole, and less memory."""

import pytest
import torch

from mmext.restoration.uformer import attention, feed_forward, pieces
from mmext.restoration.uformer.attention import WindowAttention, attend, window_attention
from mmext.restoration.uformer.feed_forward import FeedForward, LeFF
from mmext.restoration.uformer.windows import window_layout


def limit(monkeypatch, numel):
    for module in (pieces, feed_forward, attention):
        monkeypatch.setattr(module, "PIECE_NUMEL", numel)


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
def test_values_and_gradients_are_those_of_the_whole(layer, numel, monkeypatch):
    x = torch.randn(5, 20, 24, 4, dtype=torch.double, requires_grad=True)
    weight = torch.randn(5, 20, 24, 4, dtype=torch.double)
    results = []
    for size in (10**9, numel):
        limit(monkeypatch, size)
        out = apply(layer, x)
        with torch.no_grad():
            torch.testing.assert_close(apply(layer, x), out)
        grads = torch.autograd.grad((out * weight).sum(), (x, *layer.parameters()))
        results.append((out, *grads))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_frozen_parameters_and_inputs(monkeypatch):
    limit(monkeypatch, 1)
    layer = LeFF(4)
    layer.fc1.requires_grad_(False)
    feed_forward.feed_forward(layer, torch.randn(1, 8, 8, 4)).sum().backward()
    assert layer.fc1.weight.grad is None
    assert layer.fc2.weight.grad is not None
    layer.requires_grad_(False)
    x = torch.randn(1, 8, 8, 4, requires_grad=True)
    feed_forward.feed_forward(layer, x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_autocast_holds_in_the_backward_pass(monkeypatch):
    layer, x = LeFF(4), torch.randn(1, 16, 16, 4, requires_grad=True)
    results = []
    for size in (10**9, 1):
        limit(monkeypatch, size)
        with torch.autocast("cpu", torch.bfloat16):
            out = feed_forward.feed_forward(layer, x)
        assert out.dtype == torch.bfloat16
        results.append(torch.autograd.grad(out.float().square().sum(), (x, *layer.parameters())))
    for one, other in zip(*results, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.05 * one.abs().max().item())


def test_only_the_input_is_kept(monkeypatch):
    limit(monkeypatch, 1)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        feed_forward.feed_forward(LeFF(4), torch.randn(1, 32, 32, 4, requires_grad=True))
    assert max(t.numel() for t in kept) == 32 * 32 * 4


@pytest.mark.parametrize("keys", [4, 8])
def test_gradients_of_attention_with_a_bias(keys, monkeypatch):
    limit(monkeypatch, 2 * 4 * keys)  # a window at a time
    tokens = [torch.randn(3, n, 4, dtype=torch.double, requires_grad=True) for n in (4, keys, keys)]
    bias = torch.randn(2, 4, keys, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda q, k, v, b: attend(q, k, v, 2, b), (*tokens, bias))


def test_second_derivatives_are_refused(monkeypatch):
    limit(monkeypatch, 1)
    x = torch.randn(1, 8, 8, 4, requires_grad=True)
    q, bias = torch.randn(1, 4, 4, requires_grad=True), torch.randn(1, 4, 4, requires_grad=True)
    for out, leaf in ((apply(LeFF(4), x), x), (attend(q, q, q, 1, bias), q)):
        (grad,) = torch.autograd.grad(out.square().sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            grad.sum().backward()
