"""A minute of training on real tiles: better than chance, and the second stage has to help."""

import pytest
from data_packages import needs_trees
from mmengine.config import Config
from tree_training import CONFIGS, short_schedule

from mmext.embedded import trees
from mmext.embedded.coco_chance import chance_ap50
from mmext.engine import Runner, import_host

# What a detector that learns nothing but the size of a crown gets is below 0.01.
MARGIN_OVER_CHANCE = 0.05
ITERATIONS = 60


@needs_trees
@pytest.mark.learn
def test_learns_trees_and_needs_the_second_stage(tmp_path, monkeypatch):
    import_host("mmdet")
    data = trees.prepare(tmp_path / "trees")
    cfg = Config.fromfile(CONFIGS / "cpn/cpn_efflite0_trees.py")
    short_schedule(cfg, ITERATIONS, data, tmp_path / "work")

    runner = Runner.from_cfg(cfg)
    runner.train()
    both_stages = runner.val_loop.run()["coco/bbox_mAP_50"]
    head = runner.model.bbox_head
    # All pairs of corners, with their own scores: a one-stage detector of corners.
    monkeypatch.setattr(head, "classify", lambda proposals, *_: (proposals, proposals.scores))
    corners_alone = runner.val_loop.run()["coco/bbox_mAP_50"]

    assert both_stages > chance_ap50(data / "annotations" / "validation.json") + MARGIN_OVER_CHANCE
    assert both_stages > 2 * corners_alone
