"""Outputs, losses and gradients of the official code, with parameters drawn from names.

The repository holds a part of the ScanNet form; where the whole files are at hand (MMEXT_GOLDEN),
blocks, decoding and the SUN RGB-D form are compared too.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from official_group_free3d import golden, golden_model, golden_scenes, parameter, sample

from mmext.checkpoints.group_free3d import to_official
from mmext.detection3d.group_free3d.coder import BoxCoder
from mmext.detection3d.group_free3d.decode import decode_stage, detect
from mmext.detection3d.group_free3d.decoder import DecoderLayer
from mmext.detection3d.group_free3d.prediction import PredictionHead, Stage
from mmext.detection3d.structures import to_upright_camera

ROOT = Path(__file__).parents[3]
WHOLE = Path(os.environ.get("MMEXT_GOLDEN", ROOT.parent / "shared" / "golden")) / "points3d"
RULES = {"eval_fan": "fan", "train_002": "002"}
PREFIXES = ("proposal_", "0head_", "last_")
# Our losses of a stage and the official ones.
LOSSES = {
    "loss_center": "center_loss",
    "loss_heading_class": "heading_cls_loss",
    "loss_heading_residual": "heading_reg_loss",
    "loss_size_class": "size_cls_loss",
    "loss_size_residual": "size_reg_loss",
    "loss_semantic": "sem_cls_loss",
    "loss_objectness": "objectness_loss",
}


def whole(name):
    path = WHOLE / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"the whole reference arrays are not at {path} (set MMEXT_GOLDEN)")
    with np.load(path) as file:
        return dict(file)


def close(actual, expected, atol=1e-9, rtol=0.0):
    actual = actual.detach().double().numpy() if isinstance(actual, torch.Tensor) else actual
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def raw(stage, coder):
    """What a stage says, in the official names."""
    outputs = dict(
        objectness_scores=stage.objectness[..., None],
        center=stage.center,
        heading_scores=stage.heading_scores,
        heading_residuals=stage.heading_residuals * coder.half_bin,
        pred_size=stage.size,
        sem_cls_scores=stage.semantic,
    )
    if stage.size_scores is not None:
        outputs["size_scores"] = stage.size_scores
        outputs["size_residuals_normalized"] = stage.size_residuals
    return outputs


def check_network(model, scenes, data, mode, every):
    """Compare raw outputs, losses and gradients; ``every``: which proposals the arrays have."""
    points, samples = scenes
    model.train(mode.startswith("train"))
    seen, run = [], model.run
    model.run = lambda points: seen.append(run(points)) or seen[-1]
    losses = model(points, samples, mode="loss")
    (out,) = seen
    sampled = data[f"{mode}/query_points_sample_inds"]
    assert (out.candidates.indices.numpy() == sampled).all()
    for prefix, stage in zip(PREFIXES, out.stages, strict=True):
        for name, value in raw(stage, model.coder).items():
            close(value[:, ::every], data[f"{mode}/{prefix}{name}"])
    check_losses(model.loss_module, losses, data, mode)
    sum(sum(v) if isinstance(v, list) else v for v in losses.values()).backward()
    gradients = to_official({n: p.grad for n, p in model.named_parameters()})
    names = data.get("grad_norm_names", data.get(f"{mode}/grad_norm_names"))
    for name, expected in zip(names.tolist(), data[f"{mode}/grad_norm_values"], strict=True):
        if expected > 1e-12:
            close(gradients[name].norm(), expected, atol=0, rtol=1e-6)
    for key in (key for key in data if key.startswith(f"{mode}/grad/")):
        gradient = gradients[key.removeprefix(f"{mode}/grad/")]
        close(gradient, data[key], atol=1e-9 * max(1, np.abs(data[key]).max()))
    return out


def check_losses(module, losses, data, mode):
    names = data.get("loss_names", data.get(f"{mode}/loss_names"))
    expected = dict(zip(names.tolist(), data[f"{mode}/loss_values"], strict=True))
    weights = module.weights
    for ours, theirs in LOSSES.items():
        for prefix, value in zip(PREFIXES, losses.get(ours, ()), strict=False):
            weight = weights[ours.removeprefix("loss_")] / len(PREFIXES)
            close(value / weight, expected[prefix + theirs], rtol=1e-6, atol=1e-12)
    close(
        losses["loss_seeds"] / module.seed_weight,
        expected["query_points_generation_loss"],
        rtol=1e-6,
    )
    total = sum(sum(v) if isinstance(v, list) else v for v in losses.values())
    close(total, expected["loss"], rtol=1e-6)


@pytest.mark.parametrize("mode", RULES)
def test_network_losses_and_gradients(mode):
    model = golden_model("scannet", RULES[mode])
    out = check_network(model, golden_scenes(), golden(), mode, every=16)
    assert (out.seeds.indices.numpy() == golden()[f"{mode}/sa1_inds"]).all()
    close(
        out.seeds.features[:, ::16, :: 1024 // 64][..., ::8], golden()[f"{mode}/fp2_features_sub"]
    )


def test_network_in_single_precision():
    model = golden_model("scannet", "fan").eval().float()
    with torch.no_grad():
        out = model(golden_scenes()[0].float())
    assert (out.candidates.indices.numpy() == golden()["eval_fan/query_points_sample_inds"]).all()
    for prefix, stage in zip(PREFIXES, out.stages, strict=True):
        for name, value in raw(stage, model.coder).items():
            expected = golden()[f"eval_fan/{prefix}{name}"]
            close(value[:, ::16], expected, atol=2e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize(("form", "min_points"), [("plain", 0), ("noempty", 5)])
def test_detections(form, min_points):
    data = golden()
    classes = torch.from_numpy(data["decode/size_class"]).long()
    coder = BoxCoder(1, data["mean_sizes"].tolist()).double()
    residual = torch.from_numpy(data["decode/size_residual"]) / coder.mean_sizes[classes]
    stage = Stage(
        objectness=torch.from_numpy(data["decode/objectness"])[None],
        center=torch.from_numpy(data["decode/center"])[None],
        heading_scores=torch.zeros(1, 96, 1),
        heading_residuals=torch.ones(1, 96, 1),  # of no account with one bin
        size=torch.zeros(1, 96, 3),
        semantic=torch.from_numpy(data["decode/semantic"])[None],
        size_scores=torch.nn.functional.one_hot(classes, 18)[None].double(),
        size_residuals=residual[None, :, None].expand(1, 96, 18, 3),
    )
    decoded = decode_stage(stage, coder)
    found = detect(*(x[0] for x in decoded), golden_scenes()[0][0], min_points=min_points)
    count = len(data[f"decode/{form}_corners"])
    assert found.labels_3d.tolist() == np.repeat(np.arange(18), count).tolist()
    close(found.scores_3d, data[f"decode/{form}_score"])
    corners = to_upright_camera(found.bboxes_3d.corners)
    close(corners, np.tile(data[f"decode/{form}_corners"], (18, 1, 1)))


def whole_scenes(data):
    samples = []
    for b in range(len(data["in_point_clouds"])):
        count = int(data["in_box_label_mask"][b].sum())
        parts = (data["in_center_label"], data["in_size_gts"], -data["in__yaw_votenet"][..., None])
        boxes = np.concatenate([part[b, :count] for part in parts], -1)
        labels = data["in_sem_cls_label"][b, :count]
        samples.append(sample(boxes, labels, data["in_point_instance_label"][b]))
    return torch.from_numpy(data["in_point_clouds"]), samples


@pytest.mark.parametrize("mode", RULES)
@pytest.mark.parametrize("form", ["scannet", "sunrgbd"])
def test_whole_network(form, mode):
    data = whole(f"gf3d_{form}")
    model = golden_model(form, RULES[mode])
    check_network(model, whole_scenes(data), data, mode, every=1)


@pytest.mark.parametrize("form", ["scannet", "sunrgbd"])
@pytest.mark.parametrize("kind", ["plain", "noempty"])
def test_whole_detections(form, kind):
    data = {
        key: torch.from_numpy(value) if value.dtype.kind in "fi" else value
        for key, value in whole(f"gf3d_decode_{form}").items()
    }
    classless = "in_size_residuals" not in data
    bins = data["in_heading_scores"].shape[-1]
    coder = BoxCoder(bins, None if classless else golden()["mean_sizes"].tolist()).double()
    sizes = dict(size=data.get("in_pred_size", data["in_center"]))
    if not classless:
        sizes["size_scores"] = data["in_size_scores"]
        sizes["size_residuals"] = data["in_size_residuals"] / coder.mean_sizes
    stage = Stage(
        objectness=data["in_objectness_scores"][..., 0],
        center=data["in_center"],
        heading_scores=data["in_heading_scores"],
        heading_residuals=data["in_heading_residuals"] / coder.half_bin,
        semantic=data["in_sem_cls_scores"],
        **sizes,
    )
    decoded = decode_stage(stage, coder)
    for b, scene in enumerate(zip(*decoded, data["in_point_clouds"], strict=True)):
        found = detect(*scene, min_points=5 * (kind == "noempty"))
        assert torch.equal(found.labels_3d, data[f"{kind}/scene{b}_cls"].long())
        close(found.scores_3d, data[f"{kind}/scene{b}_score"].numpy())
        corners = to_upright_camera(found.bboxes_3d.corners)
        close(corners, data[f"{kind}/scene{b}_corners_cam"].numpy())


def load_block(module, name_of):
    """Fill a block with the parameters of its official names, relative to the block."""
    module = module.double().eval()
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.copy_(parameter(name_of(name), tuple(value.shape), "fan"))
    return module


def test_whole_decoder_layer():
    data = whole("gf3d_blocks")

    def name_of(name):
        name = name.replace("cross_attn", "multihead_attn")
        kind, found, rest = name.partition("_posembed.")
        return f"{kind}_posembed.position_embedding_head.{rest}" if found else name

    layer = load_block(DecoderLayer(288, 8, 2048, 0.0), name_of)
    inputs = {
        name: torch.from_numpy(data[f"dec_{name}"]).requires_grad_()
        for name in ("query", "key", "query_pos", "key_pos")
    }
    query, key, box, points = inputs.values()
    out = layer(query.transpose(1, 2), key.transpose(1, 2), box, points).transpose(1, 2)
    close(out, data["dec_out"])
    out.backward(torch.from_numpy(data["dec_grad_out"]))
    for name, tensor in inputs.items():
        close(tensor.grad, data[f"dec_grad_{name}"])


@pytest.mark.parametrize(("form", "bins", "classes"), [("cls", 1, 18), ("agn", 12, 10)])
def test_whole_prediction_head(form, bins, classes):
    data = whole("gf3d_blocks")
    sizes = golden()["mean_sizes"].tolist() if form == "cls" else None
    coder = BoxCoder(bins, sizes).double()

    def name_of(name):
        return to_official({f"proposal_head.{name}": None}).popitem()[0].partition(".")[2]

    head = load_block(PredictionHead(288, classes, coder), name_of)
    features, points = (torch.from_numpy(data[f"head_{x}"]) for x in ("features", "base_xyz"))
    outputs = raw(head(features, points), coder)
    expected = {key for key in data if key.startswith(f"head_{form}/")}
    for name, value in outputs.items():
        close(value, data[f"head_{form}/{name}"])
    derived = {"base_xyz", "heading_residuals_normalized", "size_residuals"}
    assert {key.partition("/")[2] for key in expected} - derived == outputs.keys()
