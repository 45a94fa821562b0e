"""The whole stack through mmext's runner and tools: learning, NaN, drawing, two processes."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from tiny_restoration import tiny_config, write_pairs

from mmext.engine import ConfigError, Runner
from mmext.registry import MODELS
from mmext.restoration.quality import psnr

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def cfg(folders, tmp_path):
    return tiny_config(folders, tmp_path / "work")


def test_trains_validates_and_draws(cfg, request):
    cfg.experiment_name = request.node.name
    cfg.train_cfg.val_interval = 3
    cfg.custom_hooks = [dict(type="EMAHook", momentum=0.1)]
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert (Path(cfg.work_dir) / "iter_3.pth").is_file()
    pictures = sorted(path.name for path in Path(cfg.work_dir).rglob("val_*.png"))
    assert pictures == ["val_0_3.png", "val_1_3.png", "val_2_3.png", "val_3_3.png"]
    assert cv2.imread(str(next(Path(cfg.work_dir).rglob("val_0_3.png")))).shape == (48, 256, 3)


def test_metrics_of_an_unchanged_image_are_those_of_the_input(cfg, folders, request):
    cfg.experiment_name = request.node.name
    runner = Runner.from_cfg(cfg)
    for parameter in runner.model.generator[-1].parameters():
        torch.nn.init.zeros_(parameter)
    figures = runner.val()
    expected = [
        psnr(*(cv2.imread(str(folders / kind / f"{i}.png")) / 255 for kind in ("noisy", "clean")))
        for i in range(8)
    ]
    assert figures["restoration/PSNR"] == pytest.approx(sum(expected) / 8, abs=1e-4)


def test_nan_stops_with_a_message(cfg, request):
    cfg.experiment_name = request.node.name
    cfg.optim_wrapper.optimizer = dict(type="SGD", lr=1e30)
    message = r"loss_charbonnier is (nan|inf) at iteration 2, .*noisy/\d\.png.*optimizer\.lr"
    with pytest.raises(FloatingPointError, match=message):
        Runner.from_cfg(cfg).train()


def test_data_is_checked_before_training(cfg, folders, request):
    cfg.experiment_name = request.node.name
    (folders / "clean" / "7.png").unlink()
    with pytest.raises(ConfigError, match=r"train_dataloader\.dataset: 1 files"):
        Runner.from_cfg(cfg).train()


def test_test_tool_draws_panels(folders, tmp_path):
    """``--show-dir`` of tools/test.py, with a network that every process knows."""
    cfg = tiny_config(folders, tmp_path / "work")
    cfg.model.generator = dict(type="torch.nn.Conv2d", in_channels=3, out_channels=3, kernel_size=1)
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "model.pth")
    cfg.dump(tmp_path / "tiny.py")
    command = [sys.executable, str(ROOT / "tools" / "test.py"), str(tmp_path / "tiny.py")]
    command += [str(tmp_path / "model.pth"), "--show-dir", "shown"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "restoration/SSIM_gaussian" in done.stdout
    panels = sorted((tmp_path / "work").rglob("shown/*.png"))
    assert len(panels) == 8
    assert cv2.imread(str(panels[0])).shape == (48, 4 * 64, 3)


def test_pairs_of_the_tiny_task_differ_by_noise(tmp_path):
    root = write_pairs(tmp_path / "data", count=1)
    noisy, clean = (cv2.imread(str(root / kind / "0.png")) / 255 for kind in ("noisy", "clean"))
    assert 19 < psnr(noisy, clean) < 23
