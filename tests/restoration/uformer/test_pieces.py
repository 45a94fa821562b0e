"""Layers in pieces give the values of the whole; training keeps less and has torch's gradients."""

import pytest
import torch
from mmcv.cnn.bricks import DropPath
from torch.nn import functional

from mmext.restoration.uformer import feed_forward, pieces
from mmext.restoration.uformer.attention import WindowAttention, add_window_attention
from mmext.restoration.uformer.feed_forward import FeedForward, LeFF
from mmext.restoration.uformer.windows import window_layout

ALL_PATHS = torch.nn.Identity().eval()


def limit(monkeypatch, numel):
    monkeypatch.setattr(pieces, "_PIECE_NUMEL", numel // torch.get_num_threads())


def apply(layer, x, drop_path=ALL_PATHS):
    if isinstance(layer, WindowAttention):
        layout = window_layout(tuple(x.shape[:3]), 8, 4, x.device)
        return add_window_attention(x, layer, drop_path, layout)
    return feed_forward.add_feed_forward(x, layer, drop_path)


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
    return x + layer.fc2(functional.gelu(layer.dwconv(hidden)).permute(0, 2, 3, 1))


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_gradients_of_leff_are_those_of_torch(dtype, monkeypatch):
    limit(monkeypatch, 100 * 16)  # tokens at a time
    layer, x = LeFF(4), torch.randn(2, 13, 21, 4, requires_grad=True)
    results = []
    for function in (reference, apply):
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            out = function(layer, x)
        assert out.dtype == torch.float32
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
    apply(layer, torch.randn(1, 8, 8, 4)).sum().backward()
    assert layer.fc1.weight.grad is None
    assert layer.dwconv.weight.grad is None
    assert layer.fc2.weight.grad is not None
    layer.requires_grad_(False)
    x = torch.randn(1, 8, 8, 4, requires_grad=True)
    apply(layer, x).sum().backward()
    assert x.grad.abs().sum() > 0


def test_two_wide_maps_are_kept():
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t
    ):
        apply(LeFF(4), torch.randn(1, 32, 32, 4, requires_grad=True))
    assert sorted(t.numel() for t in kept.values())[-3:] == [32 * 32 * 4, *[32 * 32 * 16] * 2]


def test_paths_are_dropped_without_gradients_too(layer, monkeypatch):
    limit(monkeypatch, 1)
    x = torch.randn(64, 8, 8, 4, dtype=torch.double)
    with torch.no_grad():
        whole = apply(layer, x)
        out = apply(layer, x, DropPath(0.5))
    dropped = out.eq(x).flatten(1).all(1)
    assert 10 < dropped.sum() < 54
    torch.testing.assert_close(out[~dropped], (2 * whole - x)[~dropped])


def test_second_derivatives_are_refused():
    x = torch.randn(1, 8, 8, 4, requires_grad=True)
    for layer in (LeFF(4), WindowAttention(4, 2, 8, "linear", modulator=True)):
        (grad,) = torch.autograd.grad(apply(layer, x).square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="no second derivative"):
            grad.sum().backward()
