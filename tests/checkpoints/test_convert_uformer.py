"""Official Uformer checkpoints: every tensor finds its place, and its way back."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from official_uformer import NETWORKS, OFFICIAL, official_tensors

from mmext.checkpoints.convert import ConversionError, convert_checkpoint
from mmext.checkpoints.uformer import convert_uformer, to_official
from mmext.registry import MODELS
from mmext.restoration.uformer import Uformer

ROOT = Path(__file__).parents[2]


def restorer(options):
    return MODELS.build(dict(type="mmext.ImageRestorer", generator=dict(options)))


@pytest.fixture
def write(tmp_path):
    def save(tensors, **rest) -> Path:
        named = {f"module.{name}": tensor for name, tensor in tensors.items()}
        torch.save(dict(epoch=250, state_dict=named, **rest), tmp_path / "model_best.pth")
        return tmp_path / "model_best.pth"

    return save


def with_indices(network):
    """The whole official state dict, buffers included."""
    tensors = official_tensors(network)
    at = torch.arange(8)
    y, x = (a.flatten() for a in torch.meshgrid(at, at, indexing="ij"))
    index = (y[:, None] - y + 7) * 15 + x[:, None] - x + 7
    return tensors | {name: index.clone() for name, _, _ in OFFICIAL[network]["buffers"]}


@pytest.mark.parametrize("network", NETWORKS)
def test_round_trip(network):
    official = with_indices(network)
    conversion = convert_uformer(official)
    assert (conversion.unknown, conversion.absent) == ([], [])
    options = conversion.meta["model"]
    restorer(options).load_state_dict(conversion.state_dict, strict=True)
    back = to_official(conversion.state_dict, options)
    assert back.keys() == official.keys()
    for name, tensor in official.items():
        if "norm_cross" not in name:  # not used by the official code, and not kept
            assert torch.equal(back[name], tensor), name
    again = convert_uformer(back)
    assert all(torch.equal(t, again.state_dict[n]) for n, t in conversion.state_dict.items())


SMALL = dict(embed_dim=4, depths=(1,) * 9)
KINDS = {
    "modulators": dict(cross_modulator=True),
    "cross": dict(skip="cross", modulator=False),
    "concat_cross": dict(skip="concat_cross", modulator=False, misaligned_concat_cross=True),
    "conv": dict(token_projection="conv", token_mlp="ffn"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_lost_tensor_is_named(kind):
    options = dict(window_size=8, token_mlp="leff", skip="concat") | SMALL | KINDS[kind]
    whole = to_official(Uformer(**options).state_dict(), options)
    assert convert_uformer(whole).absent == []
    # Levels are all alike, and the kinds differ in the decoder.
    levels = ["decoderlayer_0"]
    if kind == "modulators":
        levels += ["input_proj", "encoderlayer_0", "dowsample_0", "conv", "upsample_0"]
    needed = [
        name
        for name in whole
        if name.startswith(tuple(levels))
        and not name.endswith("position_index")
        and "norm_cross" not in name
    ]
    assert len(needed) > 15
    for lost in needed:
        conversion = convert_uformer({n: t for n, t in whole.items() if n != lost})
        assert lost in conversion.absent, lost


def test_strangers_and_other_shapes_are_named():
    tensors = official_tensors("uformer_t") | {"encoderlayer_0.eca.weight": torch.zeros(1)}
    # A training on patches of 64 has a smaller window there.
    name = "conv.blocks.0.attn.relative_position_bias_table"
    tensors[name] = tensors[name][:49]
    tensors["output_proj.proj.0.bias"] = torch.zeros(4)
    unknown = convert_uformer(tensors).unknown
    assert unknown[0] == "encoderlayer_0.eca.weight"
    assert f"{name} (49, 16): together they should be (225, 16)" in unknown
    assert "output_proj.proj.0.bias (4,): together they should be (3,)" in unknown


def test_file_with_optimizer(write, tmp_path):
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    optimizer.param_groups[0]["params"][0].grad = torch.ones(2)
    optimizer.step()
    source = write(official_tensors("uformer_t"), optimizer=optimizer.state_dict())
    facts = dict(task="gopro")
    converted = convert_checkpoint("uformer", source, tmp_path / "out.pth", facts=facts)
    checkpoint = torch.load(tmp_path / "out.pth", weights_only=True)
    assert checkpoint.keys() == {"state_dict", "meta"}
    assert checkpoint["state_dict"].keys() == converted.keys()
    meta = checkpoint["meta"]
    assert (meta["family"], meta["task"], meta["patch_size"]) == ("uformer", "gopro", 256)
    assert meta["model"]["bottleneck_shift"] is True
    model = restorer(meta["model"])
    model.load_state_dict(checkpoint["state_dict"], strict=True)
    assert model.generator.bottleneck_shift


@pytest.mark.parametrize(
    ("facts", "shift"),
    [(dict(task="sidd"), False), (dict(patch_size="256"), True), (dict(patch_size="128"), False)],
)
def test_training_patch_tells_the_shift(facts, shift):
    meta = convert_uformer(official_tensors("uformer_t"), **facts).meta
    assert meta["model"]["bottleneck_shift"] is shift


def test_shift_is_not_made_up():
    assert "bottleneck_shift" not in convert_uformer(official_tensors("uformer_t")).meta["model"]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (dict(task="rain"), "task must be one of sidd, gopro, got 'rain'"),
        (dict(patch_size="big"), "patch_size must be a multiple of 16 pixels, got 'big'"),
        (dict(size="1"), "takes no fact size, expected some of task, patch_size"),
    ],
)
def test_wrong_facts(facts, message, write, tmp_path):
    source = write(official_tensors("uformer_t"))
    with pytest.raises(ValueError, match=message):
        convert_checkpoint("uformer", source, tmp_path / "out.pth", facts=facts)


def test_another_model(write, tmp_path):
    with pytest.raises(ConversionError, match=r"no tensor fits: input_proj\.proj\.0\.weight"):
        convert_checkpoint("uformer", write(dict(a=torch.ones(1))), tmp_path / "out.pth")


def test_command_line(write, tmp_path):
    command = [sys.executable, str(ROOT / "tools" / "convert_checkpoint.py"), "uformer"]
    tensors = official_tensors("uformer_t")
    target = tmp_path / "out.pth"
    done = subprocess.run(
        [*command, write(tensors), target, "--facts", "task=sidd", "patch_size=128"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "bottleneck_shift" not in done.stderr
    del tensors["conv.blocks.1.attn.proj.bias"]
    failed = subprocess.run([*command, write(tensors), target], capture_output=True, text=True)
    assert failed.returncode == 1
    assert "no tensor fits: conv.blocks.1.attn.proj.bias" in failed.stderr
