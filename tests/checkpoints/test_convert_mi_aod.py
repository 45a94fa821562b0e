"""Checkpoints with the official names of MI-AOD; tensors are empty but for their shapes."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmext.checkpoints.convert import ConversionError, convert_checkpoint
from mmext.checkpoints.mi_aod import convert_mi_aod
from mmext.registry import MODELS

BRANCHES = ("f_1", "f_2", "f_r", "f_mil")
SSD_CHANNELS, SSD_ANCHORS = (512, 1024, 512, 256, 256, 256), (4, 6, 6, 6, 4, 4)


def pair(name: str, out: int, channels: int, size: int = 3) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (out, channels, size, size), f"{name}.bias": (out,)}


def retina_head(classes: int = 20) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for branch in BRANCHES:
        for i in range(4):
            shapes |= pair(f"{branch}_convs.{i}.conv", 256, 256)
        shapes |= pair(f"{branch}_retina", 36 if branch == "f_r" else 9 * classes, 256)
    return shapes


def ssd_head(classes: int = 20) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for branch in BRANCHES:
        for i, (channels, anchors) in enumerate(zip(SSD_CHANNELS, SSD_ANCHORS, strict=True)):
            numbers = 4 if branch == "f_r" else classes + 1
            shapes |= pair(f"{branch}_convs.{i}", anchors * numbers, channels)
    return shapes


def ssd_backbone() -> dict[str, tuple[int, ...]]:
    """VGG-16 and, in mmdet 2.3 a part of it, the layers behind it."""
    shapes = {"backbone.l2_norm.weight": (512,)}
    widths = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}
    widths |= dict.fromkeys((17, 19, 21, 24, 26, 28), 512)
    channels = 3
    for i, width in widths.items():
        shapes |= pair(f"backbone.features.{i}", width, channels)
        channels = width
    shapes |= pair("backbone.features.31", 1024, 512)
    shapes |= pair("backbone.features.33", 1024, 1024, 1)
    extra = [(256, 1024, 1), (512, 256, 3), (128, 512, 1), (256, 128, 3)]
    extra += [(128, 256, 1), (256, 128, 3)] * 2
    for i, layer in enumerate(extra):
        shapes |= pair(f"backbone.extra.{i}", *layer)
    return shapes


def filled(shapes: dict, prefix: str = "") -> dict[str, torch.Tensor]:
    """Tensors of one number each, their place in the list, without memory of their own."""
    return {
        prefix + name: torch.tensor(float(i)).expand(shape)
        for i, (name, shape) in enumerate(shapes.items())
    }


@pytest.fixture
def models(repo_root, tmp_path):
    """Configs of both detectors."""
    configs = {}
    for name in ("retinanet_r50_fpn", "ssd300"):
        base = repo_root / "configs" / "_base_" / "models" / f"miaod_{name}.py"
        configs[name] = tmp_path / f"{name}.py"
        configs[name].write_text(f'_base_ = "{base}"\ndefault_scope = "mmdet"\n')
    return configs


def official(network: str, config) -> dict[str, torch.Tensor]:
    if network == "ssd300":
        return filled(ssd_backbone()) | filled(ssd_head(), "bbox_head.")
    init_default_scope("mmdet")
    with torch.device("meta"):
        ours = MODELS.build(Config.fromfile(config).model).state_dict()
    rest = {n: t.shape for n, t in ours.items() if not n.startswith("bbox_head.")}
    return filled(rest) | filled(retina_head(), "bbox_head.")


@pytest.mark.parametrize("network", ["retinanet_r50_fpn", "ssd300"])
def test_every_tensor_finds_its_place(models, network):
    source = official(network, models[network])
    conversion = convert_mi_aod({f"module.{name}": t for name, t in source.items()})
    assert conversion.unknown == conversion.absent == []
    with torch.device("meta"):
        init_default_scope("mmdet")
        expected = MODELS.build(Config.fromfile(models[network]).model).state_dict()
    assert conversion.state_dict.keys() == expected.keys()
    for name, tensor in conversion.state_dict.items():
        assert tensor.shape == expected[name].shape, name
    assert {id(t) for t in conversion.state_dict.values()} == {id(t) for t in source.values()}


@pytest.mark.parametrize(
    ("network", "theirs", "ours"),
    [
        ("retinanet_r50_fpn", "f_1_convs.3.conv.weight", "cls_convs.3.conv.weight"),
        ("retinanet_r50_fpn", "f_1_retina.bias", "retina_cls.bias"),
        ("retinanet_r50_fpn", "f_2_convs.0.conv.bias", "f_2_cls_convs.0.conv.bias"),
        ("retinanet_r50_fpn", "f_2_retina.weight", "f_2_retina_cls.weight"),
        ("retinanet_r50_fpn", "f_mil_retina.bias", "f_mil_retina_cls.bias"),
        ("retinanet_r50_fpn", "f_r_convs.1.conv.weight", "reg_convs.1.conv.weight"),
        ("retinanet_r50_fpn", "f_r_retina.weight", "retina_reg.weight"),
        ("ssd300", "f_1_convs.5.weight", "cls_convs.5.0.weight"),
        ("ssd300", "f_2_convs.0.bias", "f_2_cls_convs.0.0.bias"),
        ("ssd300", "f_mil_convs.2.weight", "f_mil_cls_convs.2.0.weight"),
        ("ssd300", "f_r_convs.4.bias", "reg_convs.4.0.bias"),
    ],
)
def test_names_by_hand(network, theirs, ours):
    shapes = ssd_head() if network == "ssd300" else retina_head()
    source = filled(shapes)
    assert convert_mi_aod(source).state_dict[ours] is source[theirs]  # a head alone


def test_layers_behind_vgg_by_hand():
    source = official("ssd300", None)
    converted = convert_mi_aod(source).state_dict
    assert converted["neck.l2_norm.weight"] is source["backbone.l2_norm.weight"]
    assert converted["neck.extra_layers.2.1.conv.bias"] is source["backbone.extra.5.bias"]
    assert converted["backbone.features.33.weight"] is source["backbone.features.33.weight"]


@pytest.mark.parametrize(
    ("shapes", "lost"),
    [
        (retina_head(), "f_mil_convs.2.conv.bias"),
        (retina_head(), "f_2_retina.weight"),
        (ssd_head(), "f_r_convs.3.weight"),
    ],
)
def test_a_missing_tensor_is_named(shapes, lost):
    source = filled(shapes)
    del source[lost]
    (absent,) = convert_mi_aod(source).absent
    assert absent.replace("\\", "") == lost


def test_file_with_its_config(models, tmp_path):
    source = official("ssd300", None)
    torch.save(dict(state_dict=source, meta=dict(CLASSES=("a", "b"))), tmp_path / "a.pth")
    target = tmp_path / "b.pth"
    convert_checkpoint("mi-aod", tmp_path / "a.pth", target, config=models["ssd300"])
    assert len(torch.load(target, weights_only=True)["state_dict"]) == len(source)

    wrong = filled(ssd_backbone()) | filled(ssd_head(classes=3), "bbox_head.")
    torch.save(wrong, tmp_path / "a.pth")
    with pytest.raises(ConversionError, match=r"shape of bbox_head\.f_mil_cls_convs\.0\.0\.weight"):
        convert_checkpoint("mi-aod", tmp_path / "a.pth", target, config=models["ssd300"])


def test_another_model_is_refused(tmp_path):
    torch.save(filled(retina_head()) | {"extra.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(ConversionError, match=r"unknown tensor: extra\.weight"):
        convert_checkpoint("mi-aod", tmp_path / "a.pth", tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()
