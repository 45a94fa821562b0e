"""CPN with an Hourglass-104 against all that the official network gave.

The files are large and so is the network, so this needs the directory of golden files; the same
with DLA-34 is part of the tests, as are the parts that only an hourglass has.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from official_cpn import crafted_logits, golden_targets, official_image, official_network

from mmext.detection.cpn.decode import best_pairs
from mmext.detection.cpn.proposals import propose

FILE = Path(os.environ.get("MMEXT_GOLDEN", "")) / "centernetpp_cpn" / "cpn_net_hg104.npz"
pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason="MMEXT_GOLDEN names no directory with centernetpp_cpn"
)


def close(ours, official, tolerance):
    assert float((ours - official).abs().max() / official.abs().max()) < tolerance


def test_whole_network():
    with np.load(FILE) as file:
        golden = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    # In single precision the order of sums in 104 layers is worth four millionths.
    model = official_network("hg104").double()
    head = model.bbox_head
    with torch.no_grad():
        outs = model(official_image("hg104").double(), mode="tensor")
        names = ("tl_heats", "br_heats", "tl_regrs", "br_regrs", "groupings", "regions")
        for stack in range(2):
            for name, maps in zip(names, outs, strict=True):
                out = maps[stack][:, ::8] if maps[stack].size(1) > 40 else maps[stack]
                close(out, golden[f"feat_{name}{stack}"], 1.5e-6)

        proposals = propose(*crafted_logits(golden, outs[0][0].shape))
        targets, labels = golden_targets(golden, outs[0][0].shape)
        sampled = head.sample(proposals, targets, labels)
        losses = head.keypoint_losses(outs[:2], outs[2:4], targets)
        losses |= head.roi_losses(*outs[4:], sampled)
        for stack in range(2):
            grouping = head.groupings[stack].classify(outs[4][stack], sampled.rois)
            region = head.regions[stack].classify(outs[5][stack], sampled.rois)
            close(grouping.sigmoid(), golden["grouping_out"][stack], 1e-6)
            close(region.sigmoid(), golden["region_out"][stack], 1e-6)
        found = [
            best_pairs(
                *head.classify(proposals, outs[4][1], outs[5][1], threshold),
                outs[2][1],
                outs[3][1],
                num_pairs=200,
            )
            for threshold in (0.2, float(golden["thr2"]))
        ]
    classes = torch.nn.functional.one_hot(sampled.labels, 81)[:, :80].float()
    assert torch.equal(classes, golden["region_label"])
    assert torch.equal(classes.sum(1), golden["grouping_label"])
    names = ("loss_heatmap", "loss_grouping", "loss_region", "loss_offset")
    ours = torch.stack([sum(losses[name]) for name in names]).float()
    expected = golden["losses_all_focal_group_region_regr"]
    torch.testing.assert_close(ours, expected[1:], rtol=1e-6, atol=0)
    torch.testing.assert_close(ours.sum(), expected[0], rtol=1e-6, atol=0)
    for pairs, name in zip(found, ("test_det", "test_det_thr2"), strict=True):
        for image, official in enumerate(golden[name]):
            positive = official[official[:, 4] > 0]
            order = pairs[image].scores > 0
            assert int(order.sum()) == len(positive)
            torch.testing.assert_close(
                pairs[image].scores[order].float(), positive[:, 4], rtol=1e-6, atol=1e-6
            )
            torch.testing.assert_close(
                pairs[image].boxes[order].float().sort(0).values, positive[:, :4].sort(0).values
            )
