"""The authors' weights of segmentors, discriminators and CycleGAN, in synthetic files."""

import subprocess
import sys

import pytest
import torch
from golden_parameters import official_adaptation_shapes
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmext.checkpoints.convert import ConversionError, convert_checkpoint
from mmext.checkpoints.cyclegan import convert_cyclegan
from mmext.checkpoints.deeplabv2 import convert_deeplabv2, looks_untrained
from mmext.checkpoints.discriminator import convert_discriminator
from mmext.checkpoints.fcn8s import convert_fcn8s
from mmext.registry import MODELS

FAMILIES = {
    "deeplabv2": ("deeplabv2", convert_deeplabv2),
    "fcn8s": ("fcn8s", convert_fcn8s),
    "discriminator": ("discriminator", convert_discriminator),
    "generator": ("cyclegan", convert_cyclegan),
    "patch_discriminator": ("cyclegan", convert_cyclegan),
}
BASES = {
    "deeplabv2": "deeplabv2_r101",
    "fcn8s": "fcn8s_vgg16",
    "generator": "cyclegan_resnet9",
    "patch_discriminator": "cyclegan_resnet9",
}
RUNNING = ("running_mean", "running_var", "num_batches_tracked")


def without_values(network):
    """The official names and shapes, each tensor one number that is its place in the list."""
    shapes = official_adaptation_shapes(network)
    return {n: torch.tensor(float(i)).expand(shape) for i, (n, shape) in enumerate(shapes.items())}


@pytest.fixture
def config_of(tmp_path, repo_root):
    def write(network, **changes):
        base = repo_root / "configs" / "_base_" / "models" / f"{BASES[network]}.py"
        file = tmp_path / f"{network}.py"
        file.write_text(f"_base_ = {str(base)!r}\ndefault_scope = 'mmseg'\nmodel = {changes!r}\n")
        return file

    return write


def tensors_of(model):
    return {name: t.shape for name, t in model.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("network", FAMILIES)
def test_every_tensor_finds_its_place(network, prefix, config_of):
    official = {prefix + name: tensor for name, tensor in without_values(network).items()}
    conversion = FAMILIES[network][1](official)
    assert conversion.unknown == conversion.absent == []
    if "part" in conversion.meta:
        with torch.device("meta"):
            expected = tensors_of(MODELS.build(conversion.meta["part"]))
    else:
        init_default_scope("mmseg")
        with torch.device("meta"):
            expected = tensors_of(MODELS.build(Config.fromfile(config_of(network)).model))
    assert {name: t.shape for name, t in conversion.state_dict.items()} == expected
    left = {float(t.flatten()[0]) for t in conversion.state_dict.values()}
    assert len(left) == len(conversion.state_dict)
    dropped = [
        name for name in official if name.endswith(RUNNING) and "cyclegan" in FAMILIES[network]
    ]
    assert len(left) == len(official) - len(dropped)


@pytest.mark.parametrize(
    ("network", "theirs", "ours"),
    [
        ("deeplabv2", "layer3.22.bn3.running_var", "backbone.layer3.22.bn3.running_var"),
        ("deeplabv2", "layer2.0.downsample.1.bias", "backbone.layer2.0.downsample.1.bias"),
        ("deeplabv2", "layer5.conv2d_list.3.bias", "decode_head.convs.3.bias"),
        ("fcn8s", "upscore_pool4.weight", "backbone.upscore_pool4.weight"),
        ("discriminator", "classifier.bias", "classifier.bias"),
        ("generator", "model.1.bias", "stem.0.bias"),
        ("generator", "model.7.weight", "downs.1.0.weight"),
        ("generator", "model.18.conv_block.5.weight", "blocks.8.conv2.weight"),
        ("generator", "model.22.weight", "ups.1.0.weight"),
        ("generator", "model.26.weight", "out.weight"),
        ("patch_discriminator", "model.8.weight", "layers.8.weight"),
    ],
)
def test_names_by_hand(network, theirs, ours):
    official = without_values(network)
    assert FAMILIES[network][1](official).state_dict[ours] is official[theirs]


@pytest.mark.parametrize(
    ("network", "lost"),
    [
        ("deeplabv2", "layer4.1.bn2.bias"),
        ("deeplabv2", "layer5.conv2d_list.2.weight"),
        ("fcn8s", "score_pool3.bias"),
        ("discriminator", "conv2.weight"),
        ("discriminator", "conv1.weight"),
        ("generator", "model.1.weight"),
        ("generator", "model.14.conv_block.5.bias"),
        ("patch_discriminator", "model.5.bias"),
    ],
)
def test_a_missing_tensor_is_named(network, lost):
    official = without_values(network)
    del official[lost]
    (absent,) = FAMILIES[network][1](official).absent
    assert absent.replace("\\", "") == lost


@pytest.mark.parametrize("network", FAMILIES)
def test_another_file_is_refused(network, tmp_path):
    family = FAMILIES[network][0]
    torch.save(without_values("deeplabv2" if network == "fcn8s" else "fcn8s"), tmp_path / "a.pth")
    with pytest.raises(ConversionError, match=r"no tensor fits: "):
        convert_checkpoint(family, tmp_path / "a.pth", tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()


def classifier(*trained):
    """Weights of the four convolutions; those that were not trained are as at the beginning."""
    tensors = {}
    for i in range(4):
        std = 0.0102 if i in trained else 0.01
        tensors[f"layer5.conv2d_list.{i}.weight"] = std * torch.randn(19, 2048, 3, 3)
        bias = torch.rand(19).sub(0.5).mul(2 * (2048 * 9) ** -0.5)
        tensors[f"layer5.conv2d_list.{i}.bias"] = bias
    return tensors


@pytest.fixture
def bdl():
    return without_values("deeplabv2") | classifier(0, 1)


@pytest.mark.parametrize("trained", [(0, 1), (0, 1, 2, 3), ()])
def test_dead_branches_are_told(bdl, trained):
    meta = convert_deeplabv2(bdl | classifier(*trained)).meta
    rates = [(6, 12, 18, 24)[i] for i in trained]
    assert meta["active_rates"] == (dict(decode_head=rates) if rates else {})
    (note,) = meta["notes"]
    expected = {
        2: "rates [6, 12] were trained; [18, 24] still have their initial weights. "
        "Set model.decode_head.active_rates=[6, 12]",
        4: "rates [6, 12, 18, 24] were trained. Set",
        0: "no convolution was trained",
    }
    assert expected[len(trained)] in note


def test_untrained_by_each_of_its_signs():
    weight = 0.01 * torch.randn(19, 256, 3, 3)
    bias = torch.full((19,), 0.02)
    assert looks_untrained(weight, bias)
    assert not looks_untrained(weight + 0.001, bias)
    assert not looks_untrained(weight * 1.05, bias)
    assert not looks_untrained(0.01 * weight.sign(), bias)
    assert not looks_untrained(weight, bias * 1.1)


def test_config_that_adds_up_dead_branches(bdl, config_of, tmp_path):
    torch.save(bdl, tmp_path / "bdl.pth")
    good = config_of("deeplabv2")
    convert_checkpoint("deeplabv2", tmp_path / "bdl.pth", tmp_path / "out.pth", config=good)
    bad = config_of("deeplabv2", decode_head=dict(active_rates=(6, 12, 18, 24)))
    with pytest.raises(ConversionError, match=r"set model\.decode_head\.active_rates=\[6, 12\]"):
        convert_checkpoint("deeplabv2", tmp_path / "bdl.pth", tmp_path / "bad.pth", config=bad)
    assert not (tmp_path / "bad.pth").exists()
    meta = torch.load(tmp_path / "out.pth", weights_only=True)["meta"]
    assert (meta["family"], meta["active_rates"]) == ("deeplabv2", {"decode_head": [6, 12]})


def test_files_of_torch_04_have_no_counts(bdl):
    old = {n: t for n, t in bdl.items() if not n.endswith("num_batches_tracked")}
    conversion = convert_deeplabv2(old)
    assert conversion.unknown == conversion.absent == []
    assert conversion.state_dict.keys() == convert_deeplabv2(bdl).state_dict.keys()
    count = conversion.state_dict["backbone.layer1.0.bn2.num_batches_tracked"]
    assert (count.dtype, count.item()) == (torch.int64, 0)


def test_initial_weights_are_a_backbone(bdl, tmp_path, config_of):
    initial = {f"Scale.{n}": t for n, t in bdl.items() if not n.startswith("layer5.")}
    initial["Scale.layer5.conv2d_list.0.weight"] = torch.zeros(21, 2048, 3, 3)
    torch.save(initial, tmp_path / "init.pth")
    for config in (None, config_of("deeplabv2")):
        convert_checkpoint("deeplabv2", tmp_path / "init.pth", tmp_path / "out.pth", config=config)
    backbone = MODELS.build(
        dict(
            type="mmext.DeepLabV2ResNet",
            init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "out.pth")),
        )
    )
    backbone.init_weights()
    assert torch.equal(backbone.layer4[2].conv3.weight, bdl["layer4.2.conv3.weight"])


def test_two_levels(bdl):
    names = {n: n.replace("layer5", "layer6") for n in bdl if n.startswith("layer5")}
    aux = {n: torch.randn(19, 1024, 3, 3) if t.ndim == 4 else t for n, t in classifier().items()}
    two = {names.get(n, n): t for n, t in bdl.items()} | aux
    conversion = convert_deeplabv2(two)
    assert conversion.unknown == conversion.absent == []
    weights = conversion.state_dict
    assert weights["decode_head.convs.1.weight"] is bdl["layer5.conv2d_list.1.weight"]
    assert weights["auxiliary_head.convs.1.weight"] is two["layer5.conv2d_list.1.weight"]
    assert conversion.meta["active_rates"].keys() == {"decode_head", "auxiliary_head"}


def test_unknown_depth(bdl):
    shallow = {n: t for n, t in bdl.items() if not n.startswith("layer3.22.")}
    (absent,) = convert_deeplabv2(shallow).absent
    assert absent.endswith("found (3, 4, 22, 3)")


def test_numbered_discriminator():
    """MTAF and ADVENT have a Sequential, with an activation after each convolution."""
    official = without_values("discriminator")
    numbers = dict(conv1=0, conv2=2, conv3=4, conv4=6, classifier=8)
    numbered = {
        f"{numbers[layer]}.{leaf}": official[f"{layer}.{leaf}"]
        for layer, leaf in (name.split(".") for name in official)
    }
    conversion = convert_discriminator({f"module.{n}": t for n, t in numbered.items()})
    assert conversion.state_dict == official
    assert conversion.meta["part"]["num_classes"] == 19


def test_running_statistics_kept_and_dropped(tmp_path):
    official = without_values("generator")
    dropped, kept = (convert_cyclegan(official, running_stats=s) for s in ("drop", "keep"))
    assert kept.state_dict.keys() - dropped.state_dict.keys() == {
        name for name in kept.state_dict if name.endswith(RUNNING)
    }
    theirs = official["model.11.conv_block.6.running_var"]
    assert kept.state_dict["blocks.1.norm2.running_var"] is theirs
    old = {n: t for n, t in official.items() if not n.endswith("num_batches_tracked")}
    again = convert_cyclegan(old, running_stats="keep")
    assert again.state_dict.keys() == kept.state_dict.keys()
    modern = {n: t for n, t in official.items() if not n.endswith(RUNNING)}
    assert convert_cyclegan(modern).state_dict.keys() == dropped.state_dict.keys()
    assert len(convert_cyclegan(modern, running_stats="keep").absent) == 23 * 3
    torch.save(official, tmp_path / "net_G_A.pth")
    with pytest.raises(ValueError, match="running_stats must be drop or keep, got 'yes'"):
        convert_checkpoint(
            "cyclegan", tmp_path / "net_G_A.pth", tmp_path / "b", facts=dict(running_stats="yes")
        )


@pytest.mark.parametrize("network", ["generator", "patch_discriminator"])
def test_cyclegan_with_a_config(network, config_of, tmp_path):
    torch.save(without_values(network), tmp_path / "a.pth")
    config = config_of(network)
    convert_checkpoint("cyclegan", tmp_path / "a.pth", tmp_path / "b.pth", config=config)
    with pytest.raises(ConversionError, match=r"unexpected tensor: .*running_mean"):
        convert_checkpoint(
            "cyclegan",
            tmp_path / "a.pth",
            tmp_path / "c.pth",
            config=config,
            facts=dict(running_stats="keep"),
        )


def test_part_that_the_config_does_not_have(config_of, tmp_path):
    torch.save(without_values("discriminator"), tmp_path / "a.pth")
    with pytest.raises(ConversionError, match=r"the model has no mmext\.OutputDiscriminator"):
        convert_checkpoint(
            "discriminator", tmp_path / "a.pth", tmp_path / "b.pth", config=config_of("generator")
        )


def test_shapes_are_checked_without_a_config(tmp_path):
    official = without_values("discriminator")
    official["conv3.weight"] = torch.zeros(256, 128, 3, 3)
    torch.save(official, tmp_path / "a.pth")
    with pytest.raises(ConversionError, match=r"shape of conv3\.weight: \(256, 128, 3, 3\) in"):
        convert_checkpoint("discriminator", tmp_path / "a.pth", tmp_path / "b.pth")


def test_command_line_says_what_it_found(bdl, tmp_path, repo_root):
    torch.save(bdl, tmp_path / "bdl.pth")
    command = [sys.executable, str(repo_root / "tools" / "convert_checkpoint.py"), "deeplabv2"]
    done = subprocess.run(
        [*command, tmp_path / "bdl.pth", tmp_path / "out.pth"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "note: decode_head: the convolutions with rates [6, 12] were trained" in done.stdout
    assert "632 tensors" in done.stdout
