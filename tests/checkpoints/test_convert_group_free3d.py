"""Checkpoints with the names of the official Group-Free-3D and of mmdet3d."""

import argparse

import pytest
import torch
from official_group_free3d import FORMS, NO_PREPROCESSOR, golden, official_names

from mmext.checkpoints import UnsafeCheckpointError
from mmext.checkpoints.convert import ConversionError, convert_checkpoint
from mmext.checkpoints.group_free3d import (
    convert_group_free3d,
    mmdet3d_name,
    official_name,
    to_mmdet3d,
    to_official,
)
from mmext.detection3d import GroupFree3D


def filled(form: str) -> dict[str, torch.Tensor]:
    """Official tensors of one number each, without memory of their own; aliases are equal."""
    names = official_names(form)
    numbers = {name: float(i) for i, name in enumerate(names["state_dict"])}
    tensors = {}
    for name, shape in names["state_dict"].items():
        first = name
        if "_posembed." in name:
            _, layer, kind, rest = name.split(".", 3)
            first = f"decoder_{kind}s.{layer}.{rest}"
        tensors[name] = torch.tensor(numbers[first]).expand(shape)
    return tensors


def model(form: str) -> GroupFree3D:
    with torch.device("meta"):
        return GroupFree3D(
            **FORMS[form],
            mean_sizes=golden()["mean_sizes"].tolist() if form == "scannet" else None,
            backbone=dict(type="mmext.PointNet2"),
            decoder=dict(num_layers=2),
            data_preprocessor=NO_PREPROCESSOR,
        )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_every_tensor_finds_its_place(form, prefix):
    source = filled(form)
    conversion = convert_group_free3d({prefix + name: t for name, t in source.items()})
    assert conversion.unknown == conversion.absent == []
    expected = model(form).state_dict()
    assert conversion.state_dict.keys() == expected.keys()
    for name, tensor in conversion.state_dict.items():
        assert tensor.shape == expected[name].shape, name
    back = to_official(conversion.state_dict)
    assert back.keys() == source.keys()
    assert all(torch.equal(back[name], source[name]) for name in source)


@pytest.mark.parametrize("form", FORMS)
def test_mmdet3d_and_back(form):
    # Every row its own number: mmdet3d joins layers.
    source = {
        name: torch.arange(float(max(t.numel(), 1))).view(t.shape) + i
        for i, (name, t) in enumerate(convert_group_free3d(filled(form)).state_dict.items())
    }
    theirs = to_mmdet3d(source)
    conversion = convert_group_free3d(theirs)
    assert conversion.unknown == conversion.absent == []
    assert conversion.state_dict.keys() == source.keys()
    assert all(torch.equal(conversion.state_dict[name], source[name]) for name in source)
    head = theirs["bbox_head.prediction_heads.1.conv_reg.weight"]
    assert len(head) == (3 + 1 + 1 + 18 + 54 if form == "scannet" else 3 + 12 + 12 + 3)
    assert len(theirs["bbox_head.conv_pred.conv_cls.bias"]) == 1 + (10, 18)[form == "scannet"]


@pytest.mark.parametrize(
    ("ours", "official", "mmdet3d"),
    [
        (
            "backbone.sa.0.mlp.2.bn.running_var",
            "backbone_net.sa1.mlp_module.layer2.bn.bn.running_var",
            "backbone.SA_modules.0.mlps.0.layer2.bn.running_var",
        ),
        (
            "backbone.fp.1.mlp.0.conv.weight",
            "backbone_net.fp2.mlp.layer0.conv.weight",
            "backbone.FP_modules.1.mlps.layer0.conv.weight",
        ),
        (
            "seed_head.conv3.bias",
            "points_obj_cls.conv3.bias",
            "bbox_head.points_obj_cls.mlp.layer2.conv.bias",
        ),
        (
            "proposal_head.bn1.weight",
            "proposal_head.bn1.weight",
            "bbox_head.conv_pred.shared_convs.layer0.bn.weight",
        ),
        (
            "prediction_heads.10.conv2.bias",
            "prediction_heads.10.conv2.bias",
            "bbox_head.prediction_heads.10.shared_convs.layer1.conv.bias",
        ),
        ("decoder.key_proj.bias", "decoder_key_proj.bias", "bbox_head.decoder_key_proj.bias"),
        (
            "decoder.layers.11.cross_posembed.1.weight",
            "decoder_cross_posembeds.11.position_embedding_head.1.weight",
            "bbox_head.decoder_cross_posembeds.11.position_embedding_head.1.weight",
        ),
        (
            "decoder.layers.0.cross_attn.in_proj_bias",
            "decoder.0.multihead_attn.in_proj_bias",
            "bbox_head.decoder_layers.0.attentions.1.attn.in_proj_bias",
        ),
        (
            "decoder.layers.3.linear1.bias",
            "decoder.3.linear1.bias",
            "bbox_head.decoder_layers.3.ffns.0.layers.0.0.bias",
        ),
        (
            "decoder.layers.3.norm3.weight",
            "decoder.3.norm3.weight",
            "bbox_head.decoder_layers.3.norms.2.weight",
        ),
    ],
)
def test_names_by_hand(ours, official, mmdet3d):
    assert official_name(ours) == official
    assert mmdet3d_name(ours) == mmdet3d


@pytest.mark.parametrize(
    ("official", "ours"),
    [
        ("objectness_scores_head", "objectness"),
        ("center_residual_head", "center"),
        ("heading_class_head", "heading_scores"),
        ("heading_residual_head", "heading_residuals"),
        ("size_class_head", "size_scores"),
        ("size_residual_head", "size_residuals"),
        ("sem_cls_scores_head", "semantic"),
    ],
)
def test_outputs_by_hand(official, ours):
    source = filled("scannet")
    converted = convert_group_free3d(source).state_dict
    tensor = source[f"prediction_heads.1.{official}.weight"]
    assert converted[f"prediction_heads.1.outputs.{ours}.weight"] is tensor


@pytest.mark.parametrize(
    "lost",
    [
        "decoder.1.linear1.bias",
        "decoder_self_posembeds.0.position_embedding_head.0.bias",
        "backbone_net.fp1.mlp.layer0.bn.bn.running_mean",
        "prediction_heads.0.sem_cls_scores_head.weight",
    ],
)
def test_a_missing_tensor_is_named(lost):
    source = filled("scannet")
    del source[lost]
    assert lost in [name.replace("\\", "") for name in convert_group_free3d(source).absent]


def test_second_copies_that_differ_are_named():
    source = filled("scannet")
    alias = "decoder.1.cross_posembed.position_embedding_head.3.bias"
    source[alias] = source[alias] + 1
    (unknown,) = convert_group_free3d(source).unknown
    assert unknown.startswith(alias)


def official_file(path, tensors, **more):
    """What the official training writes."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter])
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [281, 341])
    torch.save(
        dict(
            config=argparse.Namespace(num_point=50000, decoder_lr=0.0006, lr_decay_epochs=[280]),
            save_path=str(path),
            model={f"module.{name}": tensor for name, tensor in tensors.items()},
            optimizer=optimizer.state_dict(),
            scheduler=scheduler.state_dict(),
            epoch=400,
            **more,
        ),
        path,
    )


def test_files_of_the_official_training(tmp_path):
    source, target = tmp_path / "ckpt_epoch_last.pth", tmp_path / "ours.pth"
    official_file(source, filled("scannet"))
    convert_checkpoint("group-free-3d", source, target)
    converted = torch.load(target, weights_only=True)
    assert converted["meta"]["family"] == "group-free-3d"
    assert converted["state_dict"].keys() == model("scannet").state_dict().keys()
    with pytest.raises(UnsafeCheckpointError):  # other families have no such files
        convert_checkpoint("uformer", source, target)


def test_code_in_such_a_file_is_refused(tmp_path):
    source = tmp_path / "evil.pth"
    official_file(source, filled("scannet"), extra=print)
    with pytest.raises(UnsafeCheckpointError, match="print"):
        convert_checkpoint("group-free-3d", source, tmp_path / "ours.pth")


def test_the_config_decides(tmp_path, repo_root):
    source, target = tmp_path / "a.pth", tmp_path / "b.pth"
    official_file(source, filled("scannet"))
    config = repo_root / "configs" / "group_free3d" / "group-free3d_l6-o256_scannet.py"
    with pytest.raises(ConversionError, match=r"missing tensor: decoder\.layers\.2"):
        convert_checkpoint("group-free-3d", source, target, config=config)
    assert not target.exists()
