"""CPN against the official code.

``cpn.npz`` holds, of the official outputs, every fourth channel or so and every second or fourth
cell; ``net_`` is CPN with DLA-34, whose parameters come from their names.
"""

import re

import numpy as np
import pytest
import torch
from golden_parameters import golden_parameter
from mmcv.ops import RoIAlign
from mmengine.structures import InstanceData
from official_cpn import (
    ROOT,
    crafted_logits,
    golden_targets,
    official_image,
    official_network,
)
from torch import Tensor, nn
from torch.nn import functional as F

from mmext.checkpoints.convert_rules import rename
from mmext.checkpoints.cpn import roi_feature_rules
from mmext.checkpoints.keypoint_rules import pool_rules
from mmext.detection.cpn.decode import best_pairs, detect, fuse_scores, passing
from mmext.detection.cpn.proposals import propose, to_rois
from mmext.detection.cpn.roi_branch import RoIBranch
from mmext.detection.keypoints import CascadeCornerPool, ScaledCenterPad
from mmext.detection.keypoints.corner_decode import CornerPairs
from mmext.detection.keypoints.targets import objects_in_cells
from mmext.detection.keypoints.views import View

BLOCK_INPUT = np.random.default_rng(0).standard_normal((2, 24, 11, 14)).astype(np.float32)


@pytest.fixture(scope="module")
def golden():
    with np.load(ROOT / "tests" / "data" / "cpn.npz") as file:
        return {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}


def relative_error(ours: Tensor, official: Tensor) -> float:
    return float((ours - official).abs().max() / official.abs().max())


def as_rows(pairs: CornerPairs) -> Tensor:
    """All of a pair in one row, those with a score above zero, in an order of their own."""
    rows = torch.cat(
        (pairs.boxes, pairs.scores[:, None], pairs.corner_scores, pairs.labels[:, None]), 1
    )
    return in_order(rows[rows[:, 4] > 0])


def in_order(rows: Tensor) -> Tensor:
    return rows[np.lexsort(rows.numpy().round(3).T)]


def with_official_parameters(block: nn.Module, rules: list[tuple[str, str]]) -> None:
    """Load a block with parameters from the official names, read off the converter's rules."""
    own = block.state_dict()
    official = {re.sub(r"\\(.)", r"\1", old): own[new].shape for old, new in rules if new in own}
    tensors = {name: golden_parameter(name, shape) for name, shape in official.items()}
    block.load_state_dict(rename(tensors, rules).state_dict, strict=False)
    block.eval()


# ---- parts


@pytest.mark.parametrize("form", ["hourglass", "dla"])
def test_features_of_proposals(golden, form):
    branch = RoIBranch(
        24,
        16,
        8,
        1,
        form=form,
        roi_layer=dict(output_size=7, sampling_ratio=1, aligned=False),
        norm_cfg=dict(type="BN"),
    )
    rules = roi_feature_rules("", "features.", deep=form == "hourglass")
    assert {new for _, new in rules} == {n for n in branch.state_dict() if n.startswith("features")}
    with_official_parameters(branch, rules)
    with torch.no_grad():
        out = branch(torch.from_numpy(BLOCK_INPUT))[:, ::4]
    expected = golden["features_hg" if form == "hourglass" else "features_dla"]
    assert relative_error(out, expected) < 1e-6


@pytest.mark.parametrize("corner", ["tl", "br"])
def test_narrow_pooling(golden, corner):
    modes = dict(tl=("top", "left"), br=("bottom", "right"))[corner]
    block = CascadeCornerPool(24, modes, feat_channels=64)
    with_official_parameters(block, pool_rules("", "", cascade=True))
    with torch.no_grad():
        out = block(torch.from_numpy(BLOCK_INPUT))[:, ::6]
    assert relative_error(out, golden[f"pool_{corner}"]) < 1e-6


@pytest.mark.parametrize("sampling_ratio", [1, 2])
def test_roi_align(golden, sampling_ratio):
    rois = to_rois(golden["roi_rois"][:, 0], golden["roi_rois"][:, 1:], plus_one=True)
    align = RoIAlign(7, 1.0, sampling_ratio, aligned=False)
    out = align(golden["roi_feat"], rois)
    assert relative_error(out, golden[f"roi_{sampling_ratio}"]) < 5e-6


def test_decode(golden):
    proposals = propose(golden["decode_tl_heat"], golden["decode_br_heat"])
    rois = torch.cat((proposals.images[:, None], proposals.boxes), 1)
    assert torch.equal(rois, golden["decode_rois"])
    passed = passing(golden["decode_group"], proposals.images, 1, 0.2)
    kept = proposals.take(passed)
    prob = golden["decode_region"].gather(1, kept.labels[:, None])[:, 0]
    offsets = golden["decode_regr"].split(2, 1)
    (found,) = best_pairs(kept, fuse_scores(kept.scores, prob), *offsets)
    assert torch.equal(as_rows(found), in_order(golden["decode_detections"]))


def test_training_sample(golden):
    """The deterministic way through the official data loader: padded to a square, resized."""
    boxes = golden["sample_boxes"]
    pixels = (boxes[:, :4] + torch.tensor([0, 20, 0, 20])) * 511 / 160
    gt = InstanceData(bboxes=pixels, labels=boxes[:, 4].long() - 1)
    meta = dict(img_shape=(511, 511), batch_input_shape=(511, 511))
    objects = objects_in_cells([gt], [meta], (128, 128), num_classes=80, radius_form="legacy")
    corners = {
        "tl": objects.keypoints(objects.boxes[:, :2]),
        "br": objects.keypoints(objects.boxes[:, 2:]),
    }
    for name, target in corners.items():
        heat = torch.zeros(1, 80, 128, 128)
        heat[tuple(golden[f"sample_{name}_idx"].long().T)] = golden[f"sample_{name}_val"]
        torch.testing.assert_close(target.heat, heat, rtol=0, atol=1e-7)
        torch.testing.assert_close(
            target.offsets.float(), golden[f"sample_{name}_offsets"], rtol=0, atol=1e-6
        )
        x, y = target.cells.unbind(1)
        assert torch.equal(y * 128 + x, golden[f"sample_{name}_cells"])
    cells = torch.cat([target.cells for target in corners.values()], 1)
    assert torch.equal(cells.float(), golden["sample_gt"][:, :4])


# ---- the whole network, with DLA-34


@pytest.fixture(scope="module")
def network():
    model = official_network("dla34")
    with torch.no_grad():
        return model.bbox_head, model(official_image("dla34"), mode="tensor")


@pytest.fixture
def given(golden, network):
    """The golden arrays of the network by their own names, and the proposals."""
    _, (heats, *_) = network
    own = {name.removeprefix("net_"): v for name, v in golden.items() if name.startswith("net_")}
    return own, propose(*crafted_logits(own, heats[0].shape))


def test_maps(given, network):
    _, outs = network
    names = ("tl_heats", "br_heats", "tl_regrs", "br_regrs", "groupings", "regions")
    for name, (out,) in zip(names, outs, strict=True):
        if name in ("groupings", "regions"):
            ours = out[:, :: 4 if name == "groupings" else 32, ::2, ::2]
        else:
            ours = out[:, :: 32 if "heat" in name else 1, ::4, ::4]
        assert relative_error(ours, given[0][name]) < 2e-6, name


def test_second_stage_and_losses(given, network):
    own, proposals = given
    head, (tl_heats, br_heats, tl_offsets, br_offsets, groupings, regions) = network
    targets, labels = golden_targets(own, tl_heats[0].shape)
    with torch.no_grad():
        sampled = head.sample(proposals, targets, labels)
        losses = head.keypoint_losses((tl_heats, br_heats), (tl_offsets, br_offsets), targets)
        losses |= head.roi_losses(groupings, regions, sampled)
        grouping = head.groupings[0].classify(groupings[0], sampled.rois).sigmoid()
        region = head.regions[0].classify(regions[0], sampled.rois).sigmoid()
    assert torch.equal((sampled.labels < 80).float(), own["grouping_label"])
    assert torch.equal(sampled.labels, own["region_label"].long())
    assert relative_error(grouping, own["grouping_out"][0]) < 1e-6
    assert relative_error(region[:, ::8], own["region_out"][0]) < 1e-6
    values = {name: sum(value) for name, value in losses.items()}
    names = ("loss_heatmap", "loss_grouping", "loss_region", "loss_offset")
    ours = torch.stack([sum(values.values()), *(values[name] for name in names)])
    torch.testing.assert_close(ours, own["losses_all_focal_group_region_regr"], rtol=1e-6, atol=0)


class Seen(nn.Module):
    """A loss that remembers its target."""

    def forward(self, prob: Tensor, target: Tensor, avg_factor: Tensor) -> Tensor:
        self.target = target
        return prob.sum()


def test_the_threshold_chooses_what_the_second_classifier_learns_from(given, network, monkeypatch):
    own, proposals = given
    head, outs = network
    targets, labels = golden_targets(own, outs[0][0].shape)
    sampled = head.sample(proposals, targets, labels)
    seen = Seen()
    monkeypatch.setitem(head.train_cfg, "grouping_thr", float(own["thr2"]))
    monkeypatch.setattr(head, "loss_region", seen)
    with torch.no_grad():
        head.roi_losses(outs[4], outs[5], sampled)
    expected = F.one_hot(own["region_label_thr2"].long(), 81)[:, :80]
    assert torch.equal(seen.target.long(), expected)
    assert len(expected) < len(sampled.rois)


@pytest.mark.parametrize("name", ["test_det", "test_det_thr2"])
def test_detections(given, network, name):
    own, proposals = given
    head, outs = network
    threshold = 0.2 if name == "test_det" else float(own["thr2"])
    with torch.no_grad():
        kept, scores = head.classify(proposals, outs[4][0], outs[5][0], threshold)
    found = best_pairs(kept, scores, outs[2][0], outs[3][0], num_pairs=200)
    for image, pairs in enumerate(found):
        expected = own[name][own[name][:, 0] == image, 1:]
        torch.testing.assert_close(as_rows(pairs), in_order(expected), rtol=1e-6, atol=1e-6)


# ---- the official test, from the network's detections to objects

CASES = {
    "dla_flip": ((1,), True, dict(pad_bits=31, pad_extra=1)),
    "hg_flip_ms": ((0.6, 1, 1.5), True, {}),
    "hg_noflip": ((1,), False, {}),
}


def views_of(golden: dict[str, Tensor], case: str) -> tuple[list[CornerPairs], list[bool]]:
    """Bring the detections of every view to the original image of 120 x 160 pixels."""
    scales, flip, padding = CASES[case]
    views, flipped = [], []
    for i, scale in enumerate(scales):
        image = np.zeros((120, 160, 3), np.uint8)
        meta = ScaledCenterPad(scale=scale, **padding)(dict(img=image))
        meta["batch_input_shape"] = meta["img_shape"]
        map_shape = [(side + 3) // 4 for side in meta["img_shape"]]
        for mirrored in range(1 + flip):
            rows = golden[f"test_{case}_scale{i}_net_dets"][mirrored]
            view = View.of(meta | dict(flip=bool(mirrored)), map_shape, rows, rescale=True)
            boxes, outside = view.boxes(rows[:, :4])
            scores = rows[:, 4].masked_fill(outside, -1)
            views.append(CornerPairs(boxes, scores, rows[:, 5:7], rows[:, 7].long()))
            flipped.append(bool(mirrored))
    return views, flipped


@pytest.mark.parametrize("case", CASES)
def test_official_test(golden, case):
    found = detect(
        *views_of(golden, case),
        flip_consistency=dict(min_iou=0.3),
        nms=dict(legacy=True, merge_exponent=10.0),
        max_per_img=100,
    )
    ours = torch.cat((found.bboxes, found.scores[:, None], found.labels[:, None]), 1)
    expected = golden[f"test_{case}_final"]
    assert len(ours) == len(expected)
    torch.testing.assert_close(in_order(ours), in_order(expected), rtol=1e-6, atol=1e-4)


def test_sound_suppression_has_no_stale_rows(golden):
    """Five of the 88 official detections stood at the end of an array."""
    found = detect(
        *views_of(golden, "hg_flip_ms"),
        flip_consistency=dict(min_iou=0.3),
        nms=dict(merge_exponent=10.0),
        max_per_img=100,
    )
    assert len(golden["test_hg_flip_ms_final"]) - len(found.scores) == 5
