"""A minute of training on rendered streets: pseudo labels make the target's mIoU higher."""

import json
from pathlib import Path

import pytest
from data_packages import needs_photos
from mmengine.config import Config

from mmext.embedded import streets
from mmext.registry import SCHEDULES

CONFIG = Path(__file__).parents[3] / "configs/bdl/self-training_efflite0_streets.py"
ITERATIONS = 200
CROP = dict(type="RandomCrop", crop_size=(96, 96))  # half of an image, in half the time
MARGIN = 0.5


@needs_photos
@pytest.mark.learn
def test_adaptation_beats_the_source_alone(tmp_path):
    data = streets.prepare(
        tmp_path / "streets", domains=("game", "day"), counts={"train": 100, "val": 40}
    )
    cfg = Config.fromfile(CONFIG)
    cfg.schedule.inner = 1
    dataset = cfg.train_dataloader.dataset
    for domain in (dataset.sources.source, dataset.targets.target):
        domain.pipeline.insert(-1, CROP)
    for domain in (dataset.sources.source, dataset.targets.target, cfg.val_dataloader.dataset):
        domain.data_root = str(data)
    cfg.test_dataloader.dataset.data_root = str(data)
    cfg.train_cfg.update(max_iters=ITERATIONS, val_interval=ITERATIONS)
    cfg.param_scheduler[1].end = ITERATIONS
    cfg.work_dir, cfg.launcher = str(tmp_path / "work"), "none"

    SCHEDULES.build(cfg.schedule).run(cfg)
    source_only, adapted = (
        json.loads((tmp_path / "work" / stage / "figures.json").read_text())["mIoU"]
        for stage in ("k1-i0-segmentor", "k1-i1-segmentor")
    )
    print(f"source alone {source_only:.1f}, adapted {adapted:.1f}")
    assert adapted > source_only + MARGIN
