"""A minute of training on rendered vessels: KLD makes boxes that the anchors alone are not."""

from pathlib import Path

import numpy as np
import pytest
from data_packages import needs_photos
from mmengine.config import Config

from mmext.embedded import ships
from mmext.engine import Runner, import_host
from mmext.leaderboards.rotated_ap import average_precision
from mmext.rotated.evaluation import Detections, read_ground_truth

CONFIG = (
    Path(__file__).parents[2] / "configs/rotated_losses/rotated-retinanet_efflite0_ships_kld.py"
)
ITERATIONS = 90
MARGIN_OVER_CHANCE = 0.1
MARGIN_OVER_ANCHORS = 0.03


def chance_ap50(labels: Path) -> float:
    """AP50 of the true boxes at random places."""
    rng = np.random.default_rng(0)
    truth = read_ground_truth(labels, ships.CLASSES)
    found = Detections(
        images=truth.images,
        image=truth.image,
        label=truth.label,
        corners=ships.chance_corners(truth.corners, 256, rng),
        score=rng.random(len(truth)),
    )
    result = average_precision(found, truth, ships.CLASSES, iou_thrs=(0.5,), eval_mode="area")
    return result.mean_ap()[0]


@needs_photos
@pytest.mark.learn
def test_kld_learns_ships(tmp_path, monkeypatch):
    import_host("mmrotate")
    splits = {"train": ships.Split(100, 256), "val": ships.Split(24, 256)}
    monkeypatch.setattr(ships, "SPLITS", splits)
    data = ships.prepare(tmp_path / "ships")
    cfg = Config.fromfile(CONFIG)
    scale = ITERATIONS / cfg.train_cfg.max_iters
    for scheduler in cfg.param_scheduler:
        for key in {"begin", "end", "T_max"} & scheduler.keys():
            scheduler[key] = round(scheduler[key] * scale)
    cfg.train_cfg.update(max_iters=ITERATIONS, val_begin=ITERATIONS + 1)
    cfg.work_dir = str(tmp_path / "work")
    cfg.val_evaluator.aspect_bins = (1, 1.5)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(data)

    runner = Runner.from_cfg(cfg)
    runner.train()
    trained = runner.val_loop.run()
    # The same classifier with a box branch that has learnt nothing: the anchors as they are.
    predictor = runner.model.bbox_head.retina_reg
    predictor.weight.data.zero_()
    predictor.bias.data.zero_()
    anchors = runner.val_loop.run()

    chance = chance_ap50(data / "val" / "annfiles")
    assert trained["dota/AP50"] > chance + MARGIN_OVER_CHANCE
    # Squares are found without a box branch, what is longer is not.
    long = "dota/AP50_aspect_1.5+"
    assert trained[long] > 2 * anchors[long] + MARGIN_OVER_ANCHORS
