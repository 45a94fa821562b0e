"""CenterNet (triplet) against the official code.

``centernet_triplet.npz`` holds the maps that were decoded (only what the peaks read; elsewhere the
heat is low and the rest zero), the inputs and values of the losses, and every fourth cell of the
outputs of a whole network whose parameters come from their names.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_parameters import official_triplet_tensors
from mmdet.models.losses import GaussianFocalLoss, SmoothL1Loss
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmext.checkpoints.centernet_triplet import convert_centernet_triplet
from mmext.detection.centernet import PullPushLoss
from mmext.detection.centernet.triplet_decode import decode_triplets
from mmext.detection.keypoints.predictor import heat_loss
from mmext.registry import MODELS

ROOT = Path(__file__).parents[3]
OUTPUTS = (
    "tl_heats",
    "br_heats",
    "ct_heats",
    "tl_tags",
    "br_tags",
    "tl_regrs",
    "br_regrs",
    "ct_regrs",
)


@pytest.fixture(scope="module")
def golden():
    with np.load(ROOT / "tests" / "data" / "centernet_triplet.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_decode(golden):
    maps = [golden[name.replace("s", "")] for name in OUTPUTS[:3]]
    maps += [golden[name[:-1]] for name in OUTPUTS[3:]]
    found = decode_triplets(*maps, num_peaks=20, num_pairs=200)
    expected = golden["detections"]
    pairs = expected[..., 4] > 0
    assert torch.equal((found.scores > 0).sum(1), pairs.sum(1))
    ours = torch.cat(
        (found.boxes, found.scores[..., None], found.corner_scores, found.labels[..., None]), -1
    )
    torch.testing.assert_close(ours[:, : expected.size(1)][pairs], expected[pairs])
    centers = (found.centers, found.center_labels[..., None], found.center_scores[..., None])
    torch.testing.assert_close(torch.cat(centers, -1), golden["centers"])


def test_embedding_losses(golden):
    tags = (golden[f"loss_tag_{side}"][..., 0] for side in ("tl", "br"))
    pull, push = PullPushLoss(1.0, 1.0)(*tags, golden["loss_mask"].bool())
    torch.testing.assert_close(pull, golden["loss_pull"], rtol=1e-6, atol=0)
    torch.testing.assert_close(push, golden["loss_push"], rtol=1e-6, atol=0)


@pytest.mark.parametrize(("name", "factor"), [("focal", 1.0), ("focal_nopos", 0.9)])
def test_heat_loss(golden, name, factor):
    heat = golden["loss_gt"] * factor
    loss = heat_loss(
        GaussianFocalLoss(alpha=2.0, gamma=4.0),
        golden["loss_pred"].logit(),
        heat,
        heat.eq(1).sum(),
    )
    torch.testing.assert_close(loss, golden[f"loss_{name}"], rtol=1e-5, atol=0)


def test_offset_loss(golden):
    mask = golden["loss_mask"].bool()
    loss = SmoothL1Loss(beta=1.0)(
        golden["loss_regr"][mask], golden["loss_gt_regr"][mask], avg_factor=mask.sum() + 1e-4
    )
    torch.testing.assert_close(loss, golden["loss_regr_loss"], rtol=1e-6, atol=0)


def test_whole_network(golden):
    """A network of the official names, converted, loaded strictly, and all its outputs."""
    path = ROOT / "configs" / "centernet_triplet" / "centernet-triplet_hourglass52_coco.py"
    init_default_scope("mmdet")
    model = MODELS.build(Config.fromfile(path).model).eval()
    converted = convert_centernet_triplet(official_triplet_tensors(1))
    model.load_state_dict(converted.state_dict, strict=True)
    image = np.random.default_rng(0).standard_normal((1, 3, 127, 127)).astype(np.float32)
    with torch.no_grad():
        outs = model(torch.from_numpy(image), mode="tensor")
    for name, (out,) in zip(OUTPUTS, outs, strict=True):
        expected = golden[f"net_{name}0"]
        # The file has every eighth class, and of those every fifth.
        out = out[:, ::40] if out.size(1) > 2 else out
        # 1e-5 of the largest outputs
        torch.testing.assert_close(out[..., ::4, ::4], expected, rtol=0, atol=5e-7)
