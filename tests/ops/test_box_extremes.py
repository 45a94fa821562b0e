"""box_extremes: the kernel against plain torch, rows that do not count, entries that are not."""

import math

import pytest
import torch
from gaussian_pairs import both_ways, boxes, each_format, needs_extension, weights

from mmext.ops import _extension
from mmext.ops.box_extremes import box_extremes


@needs_extension
@each_format
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("count", [1, 7, 128, 129, 40_000])
def test_kernel_equals_plain_torch(count, dtype, columns, monkeypatch):
    pred, target = boxes(count, columns, dtype)
    for weight in (None, weights(count, dtype), torch.zeros(count, dtype=dtype)):
        found = box_extremes(pred, target, weight)
        monkeypatch.setattr(_extension, "LOADED", False)
        total, *expected = box_extremes(pred, target, weight)
        monkeypatch.setattr(_extension, "LOADED", True)
        assert math.isfinite(found.total)
        assert math.isfinite(total)
        assert list(found[1:]) == expected


@both_ways
def test_the_extremes_of_a_small_case(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred = torch.tensor([[0.0, 0, 4, 2, -5], [0, 0, 3, 8, 1], [0, 0, -9, 1, 99]])
    target = torch.tensor([[0.0, 0, 7, 6, 0.5], [0, 0, 9, 8, -0.75], [0, 0, 1, 0, 99]])
    weight = torch.tensor([1.0, -2, 0])
    assert box_extremes(pred, target, weight)[1:] == (2, 6, 5, 0.75)
    assert box_extremes(pred, target)[1:] == (-9, 0, 99, 99)
    # x1, y1, x2, y2: sides 3, 2 and 4, 8; no angle.
    pred, target = torch.tensor([[1.0, 2, 4, 4]]), torch.tensor([[-1.0, -2, 3, 6]])
    assert box_extremes(pred, target)[1:] == (2, 4, 0, 0)


@both_ways
@each_format
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_an_entry_that_is_not_finite_shows_in_the_total(
    which, bad, columns, use_kernel, monkeypatch
):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    for entry in range(columns):
        pair = [tensor.detach() for tensor in boxes(300, columns, torch.float32)]
        pair[which][200, entry] = bad
        weight = torch.ones(300)
        assert not math.isfinite(box_extremes(*pair).total)
        assert not math.isfinite(box_extremes(*pair, weight).total)
        weight[200] = 0
        assert math.isfinite(box_extremes(*pair, weight).total)


@needs_extension
def test_opcheck():
    pred, target = (tensor.detach() for tensor in boxes(20, dtype=torch.float32))
    op = torch.ops.mmext._box_extremes.default
    torch.library.opcheck(op, (pred, target, weights(20, torch.float32)))
    torch.library.opcheck(op, (pred, target, None))
