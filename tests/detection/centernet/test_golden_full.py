"""The numbers of the official code, for what the full head adds.

``centernetpp_full_heads.npz`` holds all outputs, one after the other, of whole heads with plain and
with deformable towers on the three coarsest of five levels, whose parameters come from their names.
``centernetpp_full.npz`` completes ``centernetpp_fast.npz`` with heat maps and offsets (those in
cells that no result depends on are zero), their targets, the losses and the detections.
"""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from mmext.checkpoints.centernetpp import convert_centernetpp
from mmext.detection.centernet.keypoint_targets import keypoint_targets

ROOT = Path(__file__).parents[3]
DATA = ROOT / "tests" / "data"
GOLDEN = Path(os.environ.get("MMEXT_GOLDEN", ROOT.parent / "shared" / "golden"))
SHAPES = [(32, 40), (16, 20), (8, 10), (4, 5), (2, 3)]
STRIDES = [8, 16, 32, 64, 128]
METAS = [dict(img_shape=(250, 310), pad_shape=(256, 320), scale_factor=(1.25, 1.25))] * 2
TOWERS = {"norm": None, "dcn": dict(type="mmext.DCNv2", deform_groups=1)}
OUTPUTS = (
    "tl_cls",
    "br_cls",
    "tl_pts_init",
    "br_pts_init",
    "tl_pts_refine",
    "br_pts_refine",
    "hm_score",
    "hm_offset",
    "sem",
)


def official_parameters(kind: str, stacked: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Parameters by their official names, for 32 channels, 5 classes and ``stacked`` layers."""
    sizes = json.loads((DATA / "centernetpp_official_full_heads.json").read_text())[kind]
    small = {256: 32, 265: 41, 80: 5, 64: 32}
    parameters = {}
    for name, size in sizes.items():
        if f"_convs.{stacked}." in name and not name.startswith("shared"):
            continue
        size = [small.get(n, n) for n in size]
        value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(size) * 0.02
        value += len(size) == 1 and name.endswith("weight")
        parameters[name] = torch.from_numpy(value.astype(np.float32)).to(dtype)
    return parameters


@pytest.fixture
def make_official_head(make_full_head):
    def make(kind: str, dtype: torch.dtype, strides: list[int]):
        head = make_full_head(stacked_convs=2, dcn_cfg=TOWERS[kind], strides=strides)
        conversion = convert_centernetpp(official_parameters(kind, 2, dtype))
        assert conversion.unknown == []
        assert conversion.absent == []
        head.to(dtype).load_state_dict(conversion.state_dict, strict=True)
        return head.eval()

    return make


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["norm", "dcn"])
def test_outputs(make_official_head, kind, dtype):
    rng = np.random.default_rng(0)
    feats = [torch.from_numpy(rng.standard_normal((2, 32, *s)).astype(np.float32)) for s in SHAPES]
    with torch.no_grad():
        outs = make_official_head(kind, dtype, STRIDES[2:])([f[:1].to(dtype) for f in feats[2:]])
    with np.load(DATA / "centernetpp_full_heads.npz") as golden:
        for level in range(3):
            expected = torch.from_numpy(golden[f"{kind}{level + 2}"]).to(dtype)
            parts = expected.split([5, 5, 18, 18, 18, 18, 3, 6, 5])
            for name, out, part in zip(OUTPUTS, outs, parts, strict=True):
                atol = 1e-5 * float(part.abs().max())
                torch.testing.assert_close(out[level][0], part, rtol=0, atol=atol, msg=name)


@pytest.mark.parametrize("kind", ["norm", "dcn"])
def test_outputs_of_all_levels(make_official_head, kind):
    path = GOLDEN / "centernetpp_cpn" / f"pyc_head_{kind}.npz"
    if not path.exists():
        pytest.skip(f"the whole reference arrays are not at {path} (set MMEXT_GOLDEN)")
    with np.load(path) as golden, torch.no_grad():
        head = make_official_head(kind, torch.float32, STRIDES)
        outs = head([torch.from_numpy(golden[f"feat{i}"]) for i in range(5)])
        for name, out in zip(OUTPUTS, outs, strict=True):
            for level in range(5):
                expected = torch.from_numpy(golden[f"{name}{level}"])
                atol = 1e-5 * float(expected.abs().max())
                torch.testing.assert_close(out[level], expected, rtol=0, atol=atol)


@pytest.fixture(scope="module")
def golden():
    arrays = {}
    for name in ("centernetpp_fast", "centernetpp_full"):
        with np.load(DATA / f"{name}.npz") as file:
            arrays |= {key: torch.from_numpy(file[key]) for key in file.files}
    return arrays


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


@pytest.fixture
def head(make_full_head):
    return make_full_head(strides=STRIDES, dcn_cfg=None)


def test_targets_of_heat_maps_and_offsets(golden, head, outputs, ground_truth):
    valid = head._valid_cells(outputs[6], METAS)
    targets = keypoint_targets(ground_truth, SHAPES, STRIDES, valid)
    torch.testing.assert_close(targets.heat, golden["heat"], rtol=0, atol=1e-6)
    assert torch.equal(targets.positive, golden["positive"])
    assert torch.equal(targets.offset, golden["offset"])
    assert torch.equal(targets.num_pos, golden["num_pos"])


def test_losses(golden, head, outputs, ground_truth):
    losses = head.loss_by_feat(*outputs, ground_truth, METAS)
    assert {f"loss_{name}" for name in losses} == {k for k in golden if k.startswith("loss_")}
    for name, value in losses.items():
        value = torch.stack(value) if isinstance(value, list) else value
        torch.testing.assert_close(value, golden[f"loss_{name}"], rtol=1e-5, atol=1e-8)


def test_detections(golden, head, outputs):
    results = head.predict_by_feat(*outputs, batch_img_metas=METAS, rescale=True)
    for i, result in enumerate(results):
        expected = golden[f"det_boxes{i}"]
        torch.testing.assert_close(result.bboxes, expected[:, :4], rtol=1e-5, atol=0)
        torch.testing.assert_close(result.scores, expected[:, 4], rtol=1e-5, atol=0)
        assert torch.equal(result.labels, golden[f"det_labels{i}"].long())
