"""A campaign that takes seconds: twelve images, a very small FCOS, two cycles."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
from mmengine.config import Config
from tiny_detection import tiny_config, write_coco

from mmext.engine import Runner

RANDOM_FLIP = dict(type="RandomFlip", prob=0.5)


def campaign_config(root: Path, work_dir: Path, **train_cfg) -> Config:
    """Return a config of two cycles over the data in ``root``, with augmentation."""
    cfg = tiny_config(root, work_dir)
    cfg.train_dataloader.sampler.shuffle = True
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.pipeline[2].scale = (32, 32)
    cfg.train_dataloader.dataset.pipeline.insert(3, RANDOM_FLIP)
    cfg.val_dataloader.batch_size = 4
    cfg.val_dataloader.dataset.indices = 4
    cfg.train_cfg = dict(
        type="mmext.ActiveLearningLoop",
        cycles=2,
        budget=dict(initial=4, step=3),
        phases=[dict(name="train", epochs=2)],
        acquisition=dict(type="mmext.Random"),
    )
    cfg.train_cfg.update(train_cfg)
    cfg.param_scheduler = [dict(type="LinearLR", start_factor=0.5, by_epoch=False, end=3)]
    cfg.default_hooks.checkpoint.interval = 100
    return cfg


def run(cfg: Config, name: str) -> Runner:
    """Train and return the runner."""
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = name
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.fixture(scope="session")
def pool_data(tmp_path_factory) -> Path:
    """Folder of twelve images with two objects each."""
    root = tmp_path_factory.mktemp("pool")
    write_coco(root, images=12)
    return root


@pytest.fixture
def campaign(pool_data, tmp_path, request) -> Callable:
    """A function that runs a campaign with some settings and returns its runner."""

    def train(name: str = "", **train_cfg) -> Runner:
        cfg = campaign_config(pool_data, tmp_path / f"work{name}", **train_cfg)
        return run(cfg, request.node.name + name)

    return train
