"""The full head and the Swin backbone of CenterNet++; for the rest see test_convert.py."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmext.checkpoints.centernetpp import convert_centernetpp
from mmext.registry import MODELS

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "centernetpp" / "centernetpp_r50_fpn-gn_1x_coco.py"
SIZES = json.loads((ROOT / "tests" / "data" / "centernetpp_official_full_heads.json").read_text())


def official_head(kind, prefix="bbox_head."):
    return {
        prefix + name: torch.full(size, float(i))
        for i, (name, size) in enumerate(SIZES[kind].items())
    }


@pytest.mark.parametrize(("kind", "tensors"), [("dcn", 145), ("norm", 109)])
def test_full_head_loads_strictly(kind, tensors):
    cfg = Config.fromfile(CONFIG)
    init_default_scope(cfg.default_scope)
    if kind == "norm":
        cfg.model.bbox_head.dcn_cfg = None
    head = MODELS.build(cfg.model.bbox_head)
    conversion = convert_centernetpp(official_head(kind, prefix=""))
    assert (conversion.unknown, conversion.absent) == ([], [])
    assert len(conversion.state_dict) == tensors
    head.load_state_dict(conversion.state_dict, strict=True)
    values = {name: i for i, name in enumerate(SIZES[kind])}
    norm = "bn" if kind == "dcn" else "gn"
    for ours, theirs in {
        "branches.tl.cls_convs.2.gn.bias": f"tl_cls_convs.2.{norm}.bias",
        "branches.br.cls_conv.weight": "pycenter_br_cls_conv.weight",
        "keypoints.feats.tl.first_conv.conv.weight": "hem_tl.p1_conv1.conv.weight",
        "keypoints.feats.br.second_conv.gn.bias": "hem_br.p2_conv1.gn.bias",
        "keypoints.feats.br.pool_conv.conv.weight": "hem_br.p_conv1.weight",
        "keypoints.feats.tl.skip_conv.gn.weight": "hem_tl.gn1.weight",
        "keypoints.feats.ct.conv.weight": "hem_ct.conv.weight",
        "keypoints.score_outs.ct.bias": "pycenter_hem_ct_score_out.bias",
        "keypoints.offset_outs.br.weight": "pycenter_hem_br_offset_out.weight",
    }.items():
        assert head.get_parameter(ours).flatten()[0] == values[theirs]


@pytest.mark.parametrize("kind", ["dcn", "norm"])
def test_every_absent_tensor_is_noticed(kind):
    whole = official_head(kind)
    for lost in whole:
        if "_convs." in lost:
            continue  # towers have several layers; their number is checked with --config
        conversion = convert_centernetpp({k: v for k, v in whole.items() if k != lost})
        assert len(conversion.absent) == 1, lost


def test_prefix_of_data_parallel():
    official = {f"module.{name}": tensor for name, tensor in official_head("dcn").items()}
    conversion = convert_centernetpp(official)
    assert (conversion.unknown, conversion.absent) == ([], [])
    assert all(name.startswith("bbox_head.") for name in conversion.state_dict)


def microsoft_names(name, tensor):
    """A tensor of mmdet's Swin as Microsoft's code has it."""
    if "downsample" in name and "reduction" in name:
        out, in_channels = tensor.shape
        tensor = tensor.view(out, in_channels // 4, 4)[:, :, [0, 2, 1, 3]]
        tensor = tensor.transpose(1, 2).reshape(out, in_channels)
    elif "downsample" in name:
        tensor = tensor.view(-1, 4)[:, [0, 2, 1, 3]].T.reshape(-1)
    for ours, theirs in (
        ("stages.", "layers."),
        ("attn.w_msa.", "attn."),
        ("ffn.layers.0.0.", "mlp.fc1."),
        ("ffn.layers.1.", "mlp.fc2."),
        ("patch_embed.projection", "patch_embed.proj"),
    ):
        name = name.replace(ours, theirs)
    return name, tensor


def test_swin_backbone_gets_the_names_of_mmdet():
    init_default_scope("mmdet")
    swin = MODELS.build(
        dict(
            type="mmdet.SwinTransformer",
            embed_dims=12,
            depths=(2, 2),
            num_heads=(1, 2),
            strides=(4, 2),
            out_indices=(0, 1),
            window_size=4,
        )
    )
    torch.manual_seed(0)
    ours = {
        name: torch.randn_like(t) if t.is_floating_point() else t
        for name, t in swin.state_dict().items()
    }
    official = dict(microsoft_names(f"backbone.{name}", t) for name, t in ours.items())
    official["neck.lateral_convs.0.conv.bias"] = torch.ones(3)
    assert "backbone.layers.1.blocks.0.attn.qkv.weight" in official
    conversion = convert_centernetpp(official | official_head("dcn"))
    assert (conversion.unknown, conversion.absent) == ([], [])
    backbone = {
        name.removeprefix("backbone."): tensor
        for name, tensor in conversion.state_dict.items()
        if name.startswith("backbone.")
    }
    assert backbone.keys() == ours.keys()
    assert all(torch.equal(backbone[name], tensor) for name, tensor in ours.items())
    assert "neck.lateral_convs.0.conv.bias" in conversion.state_dict
