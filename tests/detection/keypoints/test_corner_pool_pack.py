import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from mmext.checkpoints.convert_rules import rename
from mmext.detection.keypoints.corner_pool_pack import CornerPoolPack

ROOT = Path(__file__).parents[3]
GOLDEN = Path(os.environ.get("MMEXT_GOLDEN", ROOT.parent / "shared" / "golden"))
# Ours by the official names.
NAMES = {
    "p1_conv1.conv": "first_conv.conv",
    "p1_conv1.gn": "first_conv.gn",
    "p2_conv1.conv": "second_conv.conv",
    "p2_conv1.gn": "second_conv.gn",
    "p_conv1": "pool_conv.conv",
    "p_gn1": "pool_conv.gn",
    "conv1": "skip_conv.conv",
    "gn1": "skip_conv.gn",
    "conv2.conv": "out_conv.conv",
    "conv2.gn": "out_conv.gn",
}


@pytest.mark.parametrize(
    ("corner", "rows", "cols"), [("tl", slice(0, 4), slice(0, 6)), ("br", slice(3, 7), slice(5, 9))]
)
def test_a_corner_sees_its_object(corner, rows, cols, monkeypatch):
    """A peak at row 3, column 5 is pooled up and left, or down and right."""
    pack = CornerPoolPack(8, pool_channels=4, corner=corner, norm_cfg=dict(type="GN", num_groups=4))
    peak = torch.zeros(1, 4, 7, 9)
    peak[..., 3, 5] = 1.0
    seen = []
    for layer in (pack.first_conv, pack.second_conv):
        monkeypatch.setattr(layer, "forward", lambda x: peak)
    monkeypatch.setattr(pack.pool_conv, "forward", lambda x: seen.append(x) or x.repeat(1, 2, 1, 1))
    assert pack(torch.zeros(1, 8, 7, 9)).shape == (1, 8, 7, 9)
    expected = torch.zeros(7, 9)
    expected[rows, 5] += 1
    expected[3, cols] += 1
    assert torch.equal(seen[0][0, 0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("corner", ["tl", "br"])
def test_numbers_of_the_official_code(corner, dtype):
    path = GOLDEN / "centernetpp_cpn" / f"pyc_{corner}_pool.npz"
    if not path.exists():
        pytest.skip(f"the reference arrays are not at {path} (set MMEXT_GOLDEN)")
    parameters = {}
    for name, size in json.loads(path.with_suffix(".json").read_text())["params"].items():
        value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(size) * 0.02
        value += len(size) == 1 and name.endswith("weight")
        parameters[name] = torch.from_numpy(value.astype(np.float32)).to(dtype)
    rules = [(rf"{old}\.(weight|bias)", rf"{new}.\1") for old, new in NAMES.items()]
    pack = CornerPoolPack(
        64, pool_channels=32, corner=corner, norm_cfg=dict(type="GN", num_groups=32)
    )
    pack.to(dtype).load_state_dict(rename(parameters, rules).state_dict, strict=True)
    with np.load(path) as golden, torch.no_grad():
        out = pack.eval()(torch.from_numpy(golden["x"]).to(dtype))
        expected = torch.from_numpy(golden["y"]).to(dtype)
    torch.testing.assert_close(out, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))
