"""Outputs and stages of the official code, with parameters drawn from names."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from official_uformer import (
    NETWORKS,
    OFFICIAL,
    RULES,
    golden_image,
    golden_outputs,
    golden_uformer,
    sample,
)
from torch import nn

ROOT = Path(__file__).parents[3]
GOLDEN = Path(os.environ.get("MMEXT_GOLDEN", ROOT.parent / "shared" / "golden")) / "uformer"
# The official float32 outputs themselves are this far from their float64 ones.
FLOAT32 = {"small": 3e-7, "strong": 3e-5}
STAGE_MODULES = {
    **{f"encoderlayer_{i}": f"encoder.{i}" for i in range(4)},
    **{f"dowsample_{i}": f"downs.{i}" for i in range(4)},
    "conv": "bottleneck",
    **{f"upsample_{i}": f"ups.{i}" for i in range(4)},
    **{f"decoderlayer_{i}": f"decoder.{i}" for i in range(4)},
}


def close(actual, expected, atol):
    torch.testing.assert_close(actual.to(expected.dtype), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("network", NETWORKS)
def test_outputs(network, rule):
    expected = golden_outputs(network)
    model, image = golden_uformer(network, rule), golden_image(network)
    with torch.no_grad():
        close(sample(model(image)), expected[f"out_{rule}"], FLOAT32[rule])
        if f"out64_{rule}" in expected:
            close(sample(model.double()(image.double())), expected[f"out64_{rule}"], 1e-12)


@pytest.mark.parametrize("rule", RULES)
def test_second_image_of_a_batch_and_black_borders(rule):
    expected = golden_outputs("uformer_t")
    model, image = golden_uformer("uformer_t", rule), golden_image()
    bordered = image.clone()
    bordered[:, :, :14] = bordered[:, :, 114:] = 0
    with torch.no_grad():
        second, bordered = model(torch.cat((1 - image, bordered)))
    close(sample(second[None]), expected[f"out_{rule}_batch2_second"], FLOAT32[rule])
    close(sample(bordered[None]), expected[f"out_{rule}_padded_nomask"], FLOAT32[rule])


@pytest.mark.parametrize("network", [n for n in NETWORKS if "stages" in OFFICIAL[n]])
def test_stages(network):
    stages = OFFICIAL[network]["stages"]["strong"]
    model, seen = golden_uformer(network).double(), {}

    def remember(name, channels_last):
        def hook(module, args, out):
            maps = out if channels_last else out.permute(0, 2, 3, 1)
            seen[name] = maps.flatten(1, 2)

        return hook

    for official, ours in STAGE_MODULES.items():
        module = model.get_submodule(ours)
        is_stage = isinstance(module, nn.ModuleList)
        (module[-1] if is_stage else module).register_forward_hook(remember(official, is_stage))
    with torch.no_grad():
        model(golden_image(network).double())
    for name in STAGE_MODULES:
        expected, tokens = stages[name], seen[name]
        assert list(tokens.shape) == expected["shape"], name
        actual = dict(
            first8=tokens.flatten()[:8].tolist(),
            last4=tokens.flatten()[-4:].tolist(),
            mean=tokens.mean().item(),
            std=tokens.std().item(),
            absmax=tokens.abs().max().item(),
        )
        for key, value in actual.items():
            np.testing.assert_allclose(
                value,
                expected[key],
                rtol=0,
                atol=1e-5 * expected["absmax"],
                err_msg=f"{name} {key}",
            )


@pytest.mark.parametrize("network", NETWORKS)
def test_whole_outputs(network):
    path = GOLDEN / f"{network}.npz"
    if not path.exists():
        pytest.skip(f"the whole reference arrays are not at {path} (set MMEXT_GOLDEN)")
    with np.load(path) as golden, torch.no_grad():
        out = golden_uformer(network)(golden_image(network))
        close(out, torch.from_numpy(golden["out_strong"]), FLOAT32["strong"])


def block_of(model, name):
    stage, _, number = name.replace(".blocks", "").rpartition(".")
    return model.get_submodule(STAGE_MODULES[stage])[int(number)]


@pytest.mark.parametrize("network", [n for n in NETWORKS if "stages" in OFFICIAL[n]])
def test_shift_and_drop_path_of_every_block(network):
    model = golden_uformer(network)
    for name, shift in OFFICIAL[network]["stages"]["shift"].items():
        assert block_of(model, name).shift == shift, name
    rates = OFFICIAL[network]["stages"]["drop_path"]
    for name in OFFICIAL[network]["stages"]["shift"]:
        rate = getattr(block_of(model, name).drop_path, "drop_prob", 0.0)
        assert rate == pytest.approx(rates.get(name, 0.0), abs=1e-7), name
