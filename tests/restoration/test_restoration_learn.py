"""A short training on photographs: far better than the noisy input and than a blur."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.config import Config
from torch import Tensor

from mmext.embedded import photos
from mmext.engine import Runner

CONFIG = Path(__file__).parents[2] / "configs/uformer/uformer-tiny_photos-noise25.py"
ITERATIONS = 120
# In dB. Three seeds were 7.2 to 7.4 above the noisy input (21.0), 1.5 to 1.7 above the best blur.
MARGIN, MARGIN_OVER_BLUR = 6.0, 0.8

needs_package = pytest.mark.skipif(
    photos.find_package("skimage") is None,
    reason="the scikit-image package (the source of the photographs) is not installed",
)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three photographs to learn from and the middle of another one to test on."""
    by_name = {photo.name: photo for photo in photos.PHOTOS}
    chosen = [by_name[name] for name in ("astronaut", "motorcycle_left", "ihc")]
    chosen += [replace(by_name["coffee"], split=split, crop=256) for split in ("val", "test")]
    monkeypatch.setattr(photos, "PHOTOS", tuple(chosen))
    noise = {"noise25": photos.DEGRADATIONS["noise25"]}
    monkeypatch.setattr(photos, "DEGRADATIONS", noise)
    return photos.prepare(tmp_path / "photos")


def short_config(data: Path, work_dir: Path) -> Config:
    """The config of the photographs, narrower and with a schedule of ``ITERATIONS``."""
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(work_dir)
    cfg.model.generator.embed_dim = 8
    cfg.optim_wrapper.optimizer.lr = 4e-3
    scale = ITERATIONS / cfg.train_cfg.max_iters
    for scheduler in cfg.param_scheduler:
        for key in {"begin", "end", "T_max"} & scheduler.keys():
            scheduler[key] = round(scheduler[key] * scale)
    cfg.train_cfg.update(max_iters=ITERATIONS, val_interval=ITERATIONS)
    cfg.default_hooks.checkpoint = dict(type="CheckpointHook", by_epoch=False, interval=ITERATIONS)
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].dataset.data_root = str(data / split)
    return cfg


def blur(image: Tensor, sigma: float) -> Tensor:
    """Blur a (1, 3, H, W) image, which is the plainest way to remove noise."""
    blurred = cv2.GaussianBlur(image[0].permute(1, 2, 0).numpy(), (0, 0), sigma)
    return torch.from_numpy(blurred).permute(2, 0, 1)[None]


@needs_package
@pytest.mark.learn
def test_learns_to_remove_noise(data, tmp_path):
    runner = Runner.from_cfg(short_config(data, tmp_path / "work"))
    runner.train()
    trained = runner.test()
    runner.model.generator.forward = lambda image: image
    unchanged = runner.test_loop.run()
    blurred = []
    for sigma in (0.8, 1.0, 1.2):
        runner.model.generator.forward = partial(blur, sigma=sigma)
        blurred.append(runner.test_loop.run()["restoration/PSNR"])

    psnr, ssim = "restoration/PSNR", "restoration/SSIM_gaussian"
    assert trained[psnr] > unchanged[psnr] + MARGIN
    assert trained[ssim] > unchanged[ssim] + 0.2
    assert trained[psnr] > max(blurred) + MARGIN_OVER_BLUR
