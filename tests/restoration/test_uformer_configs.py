"""The recipes of Uformer: learning rates of the official code, and parts that all exist."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, HOOKS, PARAM_SCHEDULERS, TRANSFORMS

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "uformer").glob("*.py"))


def load(name: str) -> Config:
    return Config.fromfile(ROOT / "configs" / "uformer" / f"{name}.py")


def learning_rates(cfg: Config) -> list[float]:
    """Return the learning rate of each epoch."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=cfg.lr)
    schedulers = [
        PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=optimizer))
        for scheduler in cfg.param_scheduler
    ]
    rates = []
    for _ in range(cfg.max_epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("config", "epochs"), [("uformer-b_sidd", "250"), ("uformer-b_gopro", "3000")]
)
def test_learning_rates_are_the_official_ones(config, epochs, official):
    cfg = load(config)
    assert cfg.max_epochs == cfg.train_cfg.max_epochs == int(epochs)
    rates = learning_rates(cfg)
    for epoch, expected in official["lr"][epochs].items():
        assert rates[int(epoch) - 1] == pytest.approx(expected, rel=1e-9), epoch
    assert rates[3] > rates[4] == pytest.approx(2e-4, rel=1e-12)


def test_the_recipe_of_denoising():
    cfg = load("uformer-b_sidd")
    assert cfg.model.data_preprocessor.mixup_alpha == 1.2
    assert cfg.model.data_preprocessor.mixup_from_epoch == 6
    assert 2 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 32
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.weight_decay) == ("AdamW", 0.02)
    # 750 000 iterations over 96 000 patches.
    assert cfg.max_epochs * 96000 / 32 == 750000


def test_deblurring_trains_with_a_shifted_bottleneck_and_no_mixup():
    for name in ("gopro", "hide", "realblur-r", "realblur-j"):
        cfg = load(f"uformer-b_{name}")
        assert cfg.model.generator.bottleneck_shift
        assert "mixup_alpha" not in cfg.model.data_preprocessor


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_parts_exist(path):
    cfg = Config.fromfile(path)
    Evaluator(cfg.val_evaluator)
    Evaluator(cfg.test_evaluator)
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert DATASETS.get(dataset.type) is not None
        for transform in dataset.pipeline:
            TRANSFORMS.build(transform)
    HOOKS.build(cfg.default_hooks.visualization)


@pytest.mark.parametrize("degradation", ["noise15", "noise50", "poisson", "blur", "rain"])
def test_configs_of_the_photographs_read_their_own_degradation(degradation):
    cfg = load(f"uformer-tiny_photos-{degradation}")
    for split in ("train", "val", "test"):
        dataset = cfg[f"{split}_dataloader"].dataset
        assert dataset.data_prefix == dict(img=degradation, gt="clean")
        assert dataset.data_root == f"data/photos/{split}"
