import re

import numpy as np
import pytest
import torch
from golden_parameters import golden_parameter

from mmext.checkpoints.convert_rules import rename
from mmext.checkpoints.keypoint_rules import pool_rules
from mmext.detection.keypoints import CascadeCornerPool, CenterPool
from mmext.ops import corner_pool

BLOCKS = {
    "tl": lambda: CascadeCornerPool(24, ("top", "left")),
    "br": lambda: CascadeCornerPool(24, ("bottom", "right")),
    "center": lambda: CenterPool(24),
}


def official_names(cascade: bool) -> dict[str, str]:
    """Return the official name of each of our tensors, read off the rules of the converter."""
    names = {}
    for pattern, ours in pool_rules("", "", cascade=cascade):
        names[ours] = re.sub(r"\\(.)", r"\1", pattern)
    return names


@pytest.mark.parametrize("kind", BLOCKS)
def test_golden(golden, kind):
    block = BLOCKS[kind]().eval()
    shapes = {name: tensor.shape for name, tensor in block.state_dict().items()}
    official = {
        theirs: golden_parameter(theirs, shapes[ours])
        for ours, theirs in official_names(kind != "center").items()
    }
    converted = rename(official, pool_rules("", "", cascade=kind != "center"))
    assert not converted.unknown
    assert not converted.absent
    block.load_state_dict(converted.state_dict, strict=True)
    x = np.random.default_rng(0).standard_normal((2, 24, 11, 14)).astype(np.float32)
    with torch.no_grad():
        out = block(torch.from_numpy(x))[:, ::6]
    expected = golden[f"{kind}_pool"]
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_center_pool_is_two_corner_pools_in_each_direction():
    block = CenterPool(4, feat_channels=3).eval()
    x = torch.randn(2, 4, 5, 7)
    column = corner_pool(corner_pool(block.first(x), "top"), "bottom")
    row = corner_pool(corner_pool(block.second(x), "left"), "right")
    torch.testing.assert_close(block.pooled(x), column + row)


def test_exchanging_modes_only_exchanges_branches():
    """Why the order of border and inside is nothing to choose."""
    block = CascadeCornerPool(4, ("top", "left"), feat_channels=3).eval()
    x = torch.randn(1, 4, 6, 5)
    expected = block.pooled(x)
    block.modes = ("left", "top")
    for pair in (
        ("first", "second"),
        ("look_first", "look_second"),
        ("inner_first", "inner_second"),
    ):
        a, b = (getattr(block, name) for name in pair)
        setattr(block, pair[0], b)
        setattr(block, pair[1], a)
    torch.testing.assert_close(block.pooled(x), expected)


@pytest.mark.parametrize("modes", [("left", "top"), ("top", "right"), ("top",)])
def test_modes_of_one_corner(modes):
    with pytest.raises(ValueError, match="modes must be"):
        CascadeCornerPool(4, modes)


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_parameter_learns(kind):
    block = BLOCKS[kind]()
    block(torch.randn(2, 24, 6, 6)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in block.parameters() if p.ndim > 1)
