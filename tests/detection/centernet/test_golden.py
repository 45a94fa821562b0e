"""The numbers of the official code.

``centernetpp_fast.npz`` holds its inputs and results: outputs of a fast head on five levels of two
256 x 320 images with five boxes, the targets and losses, and the detections scaled back by 1.25.
To keep the file small only the two points that make a quarter box are there, and points that reach
no result are rounded or zero. ``centernetpp_towers.npz`` holds one level of a whole head whose
parameters come from their names.
"""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmext.detection.centernet.quarter_boxes import flatten_levels, points_to_boxes

DATA = Path(__file__).parents[2] / "data"
SHAPES = [(32, 40), (16, 20), (8, 10), (4, 5), (2, 3)]
METAS = [dict(img_shape=(250, 310), pad_shape=(256, 320), scale_factor=(1.25, 1.25))] * 2
OUTPUTS = (
    "tl_cls",
    "br_cls",
    "tl_pts_init",
    "br_pts_init",
    "tl_pts_refine",
    "br_pts_refine",
    "sem",
)


@pytest.fixture(scope="module")
def golden():
    with np.load(DATA / "centernetpp_fast.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture
def head(make_head):
    return make_head(strides=[8, 16, 32, 64, 128])


@pytest.fixture
def outputs(golden):
    sizes = [h * w for h, w in SHAPES]
    return [
        [
            part.unflatten(2, shape)
            for part, shape in zip(golden[name].split(sizes, 2), SHAPES, strict=True)
        ]
        for name in OUTPUTS
    ]


@pytest.fixture
def ground_truth(golden):
    return [
        InstanceData(bboxes=golden[f"gt{i}"], labels=golden[f"label{i}"].long()) for i in range(2)
    ]


def test_targets(golden, head, outputs, ground_truth):
    grid, sizes = head.grid(outputs[6])
    init_boxes = [points_to_boxes(flatten_levels(points), grid) for points in outputs[2:4]]
    valid = head._valid_cells(outputs[6], METAS)
    stages = head._targets(ground_truth, grid, sizes, valid, init_boxes)
    for stage, both in zip(("init", "refine"), stages, strict=True):
        for side, targets in zip(("tl", "br"), both, strict=True):
            labels = golden[f"{side}_{stage}_labels"].long()
            assert torch.equal(targets.labels, labels)
            assert torch.equal(targets.boxes, golden[f"{side}_{stage}_boxes"])
            assert targets.num_pos == (labels < 5).sum()


def test_semantic_map(golden, head, outputs, ground_truth):
    weights = head._semantic_targets(outputs[6], ground_truth)
    finest = weights[:, : 32 * 40].transpose(1, 2).unflatten(2, (32, 40))
    torch.testing.assert_close(finest, golden["sem_weight"], rtol=1e-6, atol=0)


def test_losses(golden, head, outputs, ground_truth):
    losses = head.loss_by_feat(*outputs, ground_truth, METAS)
    assert set(losses) == {"loss_cls", "loss_pts_init", "loss_pts_refine", "loss_sem"}
    for name, value in losses.items():
        value = torch.stack(value) if isinstance(value, list) else value
        expected = golden[f"fastloss_{name}"]
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-8)


def test_detections(golden, head, outputs):
    results = head.predict_by_feat(*outputs, batch_img_metas=METAS, rescale=True)
    for i, result in enumerate(results):
        expected = golden[f"fastdet_boxes{i}"]
        torch.testing.assert_close(result.bboxes, expected[:, :4], rtol=1e-5, atol=0)
        torch.testing.assert_close(result.scores, expected[:, 4], rtol=1e-5, atol=0)
        assert torch.equal(result.labels, golden[f"fastdet_labels{i}"].long())


def test_towers_semantic_branch_and_first_points(make_head):
    """The full head shares these parts; its towers are two plain convolutions here."""
    head = make_head(strides=[8], stacked_convs=1, dcn_cfg=None)
    official = {"sem_out": "pycenter_sem_out", "sem_embedding": "pycenter_sem_embedding"}
    parameters = {}
    for name, tensor in head.state_dict().items():
        side_free = name.replace("branches.tl.", "tl_").replace("branches.br.", "br_")
        for ours, theirs in official.items():
            side_free = side_free.replace(ours, theirs)
        if "pts_init" in side_free:
            side_free = f"pycenter_{side_free}"
        value = np.random.default_rng(zlib.crc32(side_free.encode())).standard_normal(tensor.shape)
        norm_scale = tensor.ndim == 1 and name.endswith("weight")
        parameters[name] = torch.from_numpy(value * 0.02 + norm_scale).float()
    head.load_state_dict(parameters)
    with np.load(DATA / "centernetpp_towers.npz") as golden:
        outs = head.eval()([torch.from_numpy(golden["feat"])])
        for index, name in ((2, "tl_pts_init"), (3, "br_pts_init"), (6, "sem")):
            expected = torch.from_numpy(golden[name])
            atol = 1e-5 * float(expected.abs().max())
            torch.testing.assert_close(outs[index][0], expected, rtol=0, atol=atol)
