"""An mmrotate config as its wheel has it, trained by mmrotate's own tool, with our loss."""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

from tiny_dota import write_dota

ROOT = Path(__file__).resolve().parents[2]
CONFIG = "gwd/rotated-retinanet-hbox-oc_r50_fpn_gwd_1x_dota.py"
ITERATIONS = 4

# Runs the tool as `python train.py ...` would; mmrotate needs torchvision, or the stand-in.
RUN = """
import runpy, sys
from mmext.engine import import_host
import_host("mmrotate")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def train(data: Path, work: Path, *options: str) -> list[dict]:
    """Train in a fresh process; return what was logged of each iteration."""
    mim = Path(importlib.util.find_spec("mmrotate").origin).parent / ".mim"
    command = [
        sys.executable,
        "-c",
        RUN,
        str(mim / "tools" / "train.py"),
        str(mim / "configs" / CONFIG),
    ]
    command += ["--work-dir", str(work), "--cfg-options"]
    command += [
        f"train_dataloader.dataset.data_root={data}/",
        f"val_dataloader.dataset.data_root={data}/",
        "train_dataloader.dataset.pipeline.3.scale=(128,128)",
        "train_dataloader.batch_size=1",
        "train_dataloader.num_workers=0",
        "train_dataloader.persistent_workers=False",
        "model.backbone.init_cfg=None",
        "train_cfg.max_epochs=1",
        "train_cfg.val_begin=2",
        "default_hooks.logger.interval=1",
        "log_processor.window_size=1",
        "randomness.seed=0",
        *options,
    ]
    result = subprocess.run(
        command,
        cwd=work.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert (work / "epoch_1.pth").exists()
    log = next(work.glob("*/vis_data/scalars.json"))
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_the_loss_line_is_all_that_changes(tmp_path):
    """Same seed, same data: the logged losses are mmrotate's, iteration by iteration."""
    data = write_dota(tmp_path / "data", images=ITERATIONS)
    ours = train(data, tmp_path / "ours", "model.bbox_head.loss_bbox.type=mmext.GDLoss")
    theirs = train(data, tmp_path / "theirs")
    assert "mmext.GDLoss" in next((tmp_path / "ours").glob("*.py")).read_text()
    assert len(ours) == len(theirs) == ITERATIONS
    for own, their in zip(ours, theirs, strict=True):
        assert their["loss_bbox"] > 0.1
        for key in ("loss_bbox", "loss_cls"):
            assert math.isclose(own[key], their[key], rel_tol=1e-3), (own, their)
