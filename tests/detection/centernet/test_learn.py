"""A minute of training on real tiles: better than chance, and the centre check has to help."""

from pathlib import Path

import pytest
from data_packages import needs_trees
from mmengine.config import Config, ConfigDict
from tree_training import CONFIGS, short_schedule

from mmext.embedded import trees
from mmext.embedded.coco_chance import chance_ap50
from mmext.engine import Runner, import_host

# What a detector that learns nothing but the size of a crown gets is below 0.01.
MARGIN_OVER_CHANCE = 0.05


def group_without_check(test_cfg: ConfigDict) -> None:
    """Let any two quarter boxes of a class make an object."""
    test_cfg.grouping.center_check = False


def pair_without_check(test_cfg: ConfigDict) -> None:
    """Let any two corners of a class with like embeddings make an object."""
    test_cfg.center_check = None


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The tree crowns as COCO files."""
    return trees.prepare(tmp_path_factory.mktemp("data") / "trees")


@needs_trees
@pytest.mark.learn
@pytest.mark.parametrize(
    ("config", "iterations", "leave_out_check"),
    [
        ("centernetpp/centernetpp-fast_efflite0_fpn_trees.py", 60, group_without_check),
        ("centernetpp/centernetpp_efflite0_fpn_trees.py", 60, group_without_check),
        ("centernet_triplet/centernet-triplet_efflite0_trees.py", 240, pair_without_check),
    ],
    ids=["fast", "full", "triplet"],
)
def test_learns_trees_and_needs_the_centre_check(
    data, tmp_path, config, iterations, leave_out_check
):
    import_host("mmdet")
    cfg = Config.fromfile(CONFIGS / config)
    short_schedule(cfg, iterations, data, tmp_path / "work")

    runner = Runner.from_cfg(cfg)
    runner.train()
    with_check = runner.val_loop.run()["coco/bbox_mAP_50"]
    leave_out_check(runner.model.bbox_head.test_cfg)
    without_check = runner.val_loop.run()["coco/bbox_mAP_50"]

    assert with_check > chance_ap50(data / "annotations" / "validation.json") + MARGIN_OVER_CHANCE
    assert with_check > 1.3 * without_check
