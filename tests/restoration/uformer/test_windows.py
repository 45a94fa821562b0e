"""Attention within windows against attention among all tokens of which most pairs are forbidden."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from mmext.restoration.uformer import windows
from mmext.restoration.uformer.attention import WindowAttention, add_window_attention
from mmext.restoration.uformer.skips import (
    ConcatCrossAttention,
    CrossAttention,
    cross_attention,
)
from mmext.restoration.uformer.windows import to_maps, to_windows, window_layout

CPU = torch.device("cpu")
SIZES = [(8, 8), (16, 24), (3, 5), (13, 21), (20, 9), (17, 6), (1, 1)]
SHIFTS = [0, 4]


def randomise(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.double()


def pairs(height, width, shift):
    """Which tokens share a window, and the row of the bias table for each pair."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = y.flatten(), x.flatten()
    # The first window of a shifted map has but its last `8 - shift` rows.
    window = torch.stack(((y + 8 - shift) // 8, (x + 8 - shift) // 8))
    together = (window[:, :, None] == window[:, None]).all(0)
    offset = ((y[:, None] - y + 7) * 15 + (x[:, None] - x + 7)).clamp(0, 224)
    return together, offset


def dense(q, k, v, num_heads, table, size, shift):
    """Attend among all tokens (N, C) of a map."""
    together, offset = pairs(*size, shift)
    q, k, v = (t.unflatten(-1, (num_heads, -1)).transpose(0, 1) for t in (q, k, v))
    logits = q @ k.mT / q.shape[-1] ** 0.5 + table[offset].permute(2, 0, 1)
    logits = logits.masked_fill(~together, -torch.inf)
    return (logits.softmax(-1) @ v).transpose(0, 1).flatten(1)


def window_attention(layer, x, layout):
    """What the layer adds to the maps."""
    return add_window_attention(x, layer, torch.nn.Identity(), layout) - x


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("size", SIZES)
def test_self_attention(size, shift):
    layer = randomise(WindowAttention(6, 2, 8, "linear", modulator=False))
    x = torch.randn(2, *size, 6, dtype=torch.double)
    layout = window_layout((2, *size), 8, shift, CPU)
    for image, out in zip(x, window_attention(layer, x, layout), strict=True):
        qkv = layer.qkv(layer.norm(image.flatten(0, 1)))
        expected = layer.proj(dense(*qkv, 2, layer.bias.table, size, shift))
        torch.testing.assert_close(out.flatten(0, 1), expected)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("size", SIZES)
def test_cross_attention(size, shift):
    layer = randomise(CrossAttention(6, 2, 8))
    x, skip = torch.randn(2, 1, *size, 6, dtype=torch.double)
    out = cross_attention(layer, x, skip, window_layout((1, *size), 8, shift, CPU))
    k, v = layer.kv(layer.norm_kv(skip.flatten(0, 2))).chunk(2, -1)
    q = layer.q(layer.norm(x.flatten(0, 2)))
    expected = layer.proj(dense(q, k, v, 2, layer.bias.table, size, shift))
    torch.testing.assert_close(out.flatten(0, 2), expected)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("size", SIZES)
def test_concatenated_keys_have_the_bias_of_their_places(size, shift):
    layer = randomise(ConcatCrossAttention(6, 1, 8, misaligned=False))
    x, skip = torch.randn(2, 1, *size, 6, dtype=torch.double)
    out = cross_attention(layer, x, skip, window_layout((1, *size), 8, shift, CPU))
    q, k, v = layer.qkv(layer.norm(x.flatten(0, 2))).chunk(3, -1)
    others = layer.kv(layer.norm_kv(skip.flatten(0, 2))).chunk(2, -1)
    together, offset = pairs(*size, shift)
    logits = torch.cat((q @ k.T, q @ others[0].T), 1) / 6**0.5
    logits = logits + layer.bias.table[offset][..., 0].repeat(1, 2)
    logits = logits.masked_fill(~together.repeat(1, 2), -torch.inf)
    expected = layer.proj(logits.softmax(-1) @ torch.cat((v, others[1])))
    torch.testing.assert_close(out.flatten(0, 2), expected)


def test_conv_projection_stays_within_windows():
    layer = randomise(WindowAttention(4, 2, 8, "conv", modulator=True))
    x = torch.randn(1, 16, 8, 4, dtype=torch.double)
    out = window_attention(layer, x, window_layout((1, 16, 8), 8, 0, CPU))
    for rows in (slice(0, 8), slice(8, 16)):
        tokens = layer.norm(x[0, rows].flatten(0, 1)) + layer.modulator
        image = tokens.view(8, 8, 4).permute(2, 0, 1)
        qkv = []
        for part in (layer.qkv.q, layer.qkv.k, layer.qkv.v):
            conv, point = part.depthwise, part.pointwise
            mixed = functional.conv2d(image, conv.weight, conv.bias, padding=1, groups=4).relu()
            mixed = torch.einsum("oc,chw->ohw", point.weight[..., 0, 0], mixed)
            qkv.append((mixed + point.bias[:, None, None]).flatten(1).T)
        expected = layer.proj(dense(*qkv, 2, layer.bias.table, (8, 8), 0))
        torch.testing.assert_close(out[0, rows].flatten(0, 1), expected)


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("size", SIZES)
def test_windows_and_back(size, shift):
    layout = window_layout((2, *size), 8, shift, CPU)
    x = torch.randn(2, *size, 3, dtype=torch.double, requires_grad=True)
    cut = to_windows(x, layout)
    assert cut.shape == (sum(layout.counts), 64, 3)
    assert torch.equal(to_maps(cut, layout), x)
    weight = torch.randn(2, *size, 3, dtype=torch.double)
    (grad,) = torch.autograd.grad((to_maps(to_windows(x, layout) * 2, layout) * weight).sum(), x)
    torch.testing.assert_close(grad, 2 * weight)


@pytest.mark.parametrize("window", [2, 5, 7, 16])
def test_other_windows_and_back(window):
    layout = window_layout((2, 19, 23), window, window // 2, CPU)
    x = torch.randn(2, 19, 23, 3)
    assert torch.equal(to_maps(to_windows(x, layout), layout), x)


@pytest.mark.parametrize("shift", SHIFTS)
def test_padding_does_not_matter(shift, monkeypatch):
    layer = randomise(WindowAttention(6, 2, 8, "linear", modulator=True))
    x = torch.randn(1, 13, 21, 6, dtype=torch.double, requires_grad=True)
    layout = window_layout((1, 13, 21), 8, shift, CPU)
    results = []
    for value in (0.0, 1e3):

        def pad(maps, sides, value=value):
            return functional.pad(maps, sides, value=value)

        monkeypatch.setattr(windows, "functional", SimpleNamespace(pad=pad))
        out = window_attention(layer, x, layout)
        grads = torch.autograd.grad(out.square().sum(), (x, *layer.parameters()))
        results.append((out, *grads))
    for one, other in zip(*results, strict=True):
        assert one.isfinite().all()
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_few_masks_for_large_maps():
    layout = window_layout((3, 256, 512), 8, 4, CPU)
    assert layout.counts == (3 * 31 * 63, 3 * 63, 3 * 31, 3)
    assert layout.masks[0] is None
    assert sum(mask is not None for mask in layout.masks) == 3
    assert window_layout((3, 256, 512), 8, 4, CPU) is layout


def test_layouts_made_in_inference_serve_training():
    windows._build.cache_clear()
    with torch.inference_mode():
        layout = window_layout((1, 12, 12), 8, 4, CPU)
    x = torch.randn(1, 12, 12, 4, requires_grad=True)
    layer = WindowAttention(4, 1, 8, "linear", modulator=False)
    window_attention(layer, x, layout).sum().backward()
    assert x.grad.isfinite().all()
