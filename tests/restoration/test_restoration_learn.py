"""A short training on photographs: far better than the noisy input and the untrained network."""

from dataclasses import replace
from pathlib import Path

import pytest
from mmengine.config import Config

from mmext.embedded import photos
from mmext.engine import Runner

CONFIG = Path(__file__).parents[2] / "configs/uformer/uformer-tiny_photos-noise25.py"
ITERATIONS = 90
# In dB. The input has about 20.5; an untrained network adds its own noise to it.
MARGIN = 4.0

needs_package = pytest.mark.skipif(
    photos.find_package("skimage") is None,
    reason="the scikit-image package (the source of the photographs) is not installed",
)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Three photographs to learn from and the middle of another one to test on."""
    by_name = {photo.name: photo for photo in photos.PHOTOS}
    chosen = [by_name[name] for name in ("astronaut", "motorcycle_left", "ihc")]
    chosen += [replace(by_name["chelsea"], split=split, crop=256) for split in ("val", "test")]
    monkeypatch.setattr(photos, "PHOTOS", tuple(chosen))
    noise = {"noise25": photos.DEGRADATIONS["noise25"]}
    monkeypatch.setattr(photos, "DEGRADATIONS", noise)
    return photos.prepare(tmp_path / "photos")


def short_config(data: Path, work_dir: Path) -> Config:
    """The config of the photographs, narrower and with a schedule of ``ITERATIONS``."""
    cfg = Config.fromfile(CONFIG)
    cfg.work_dir = str(work_dir)
    cfg.model.generator.embed_dim = 8
    scale = ITERATIONS / cfg.train_cfg.max_iters
    for scheduler in cfg.param_scheduler:
        for key in {"begin", "end", "T_max"} & scheduler.keys():
            scheduler[key] = round(scheduler[key] * scale)
    cfg.train_cfg.update(max_iters=ITERATIONS, val_interval=ITERATIONS)
    cfg.default_hooks.checkpoint = dict(type="CheckpointHook", by_epoch=False, interval=ITERATIONS)
    for split in ("train", "val", "test"):
        cfg[f"{split}_dataloader"].dataset.data_root = str(data / split)
    return cfg


@needs_package
@pytest.mark.learn
def test_learns_to_remove_noise(data, tmp_path):
    runner = Runner.from_cfg(short_config(data, tmp_path / "work"))
    untrained = runner.test()
    runner.train()
    trained = runner.test_loop.run()
    runner.model.generator.forward = lambda image: image
    unchanged = runner.test_loop.run()

    print("FIG", trained, unchanged, untrained)
    for baseline in (unchanged, untrained):
        assert trained["restoration/PSNR"] > baseline["restoration/PSNR"] + MARGIN
        assert trained["restoration/SSIM_gaussian"] > baseline["restoration/SSIM_gaussian"]
