"""The baseline of Uformer's benchmark is what it says, and the benchmark runs."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from official_uformer import golden_image, golden_outputs, official_tensors, sample

from mmext.checkpoints.uformer import convert_uformer, to_official
from mmext.restoration.uformer import Uformer

FOLDER = Path(__file__).parents[2] / "tools" / "benchmarks"


@pytest.fixture(scope="module")
def literal():
    spec = importlib.util.spec_from_file_location("literal", FOLDER / "literal_uformer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("network", "options"),
    [
        ("uformer_t", dict(arch="T")),
        ("uformer_t_nomod", dict(arch="T", modulator=False)),
        ("uformer_s_noshift", dict(arch="S", shift=False)),
    ],
)
def test_literal_port_is_the_official_network(literal, network, options):
    model = literal.LiteralUformer(**options).eval()
    loaded = model.load_state_dict(official_tensors(network), strict=False)
    assert not loaded.unexpected_keys
    assert all(name.endswith("relative_position_index") for name in loaded.missing_keys)
    expected = golden_outputs(network)
    with torch.no_grad():
        out = sample(model(golden_image(network)))
        torch.testing.assert_close(out, expected["out_strong"], rtol=0, atol=3e-5)
        if network == "uformer_t":
            image, padding = golden_image(network), torch.zeros(1, 1, 128, 128)
            for rows in (slice(14), slice(114, None)):
                image[:, :, rows], padding[:, :, rows] = 0, 1
            out = sample(model(image, padding))
            masked = expected["out_strong_padded_mask"]
            torch.testing.assert_close(out, masked, rtol=0, atol=3e-5)


@pytest.mark.parametrize(("arch", "img_size"), [("T", 256), ("B", 128)])
def test_ours_is_the_literal_port(literal, arch, img_size):
    model = Uformer(arch=arch, bottleneck_shift=img_size == 256).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    other = literal.LiteralUformer(arch, img_size=img_size).eval()
    options = dict(window_size=8, token_mlp="leff", skip="concat")
    official = to_official(model.state_dict(), options)
    other.load_state_dict(official, strict=True)
    assert convert_uformer(official).meta["model"]["depths"] == [*literal.DEPTHS[arch]]
    image = golden_image()
    with torch.no_grad():
        expected = other(image)
        torch.testing.assert_close(model(image), expected, rtol=0, atol=5e-5)


def test_benchmark_runs():
    command = [sys.executable, FOLDER / "uformer.py", "--quick", "--archs", "T"]
    command += ["--threads", "1", "--runs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith("| T | 128 | 1 | 1 |")
    assert all(float(cell) > 0 for cell in line.strip("| ").split(" | ")[1:])
