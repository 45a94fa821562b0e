"""What the stages of schedules do: train, write pseudo labels, show the figures."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner, find_latest_checkpoint
from mmengine.utils import ProgressBar

from mmext.files import write_file

from ..pseudo_labels import PseudoLabelRule, PseudoLabelWriter
from .labelling import TargetLabeller
from .schedule import Schedule, Stage

FIGURES = "figures.json"
# What the result of a schedule depends on.
_RECIPE = (
    *("model", "train_dataloader", "optim_wrapper", "param_scheduler", "train_cfg"),
    *("schedule", "randomness", "custom_hooks"),
)


def recipe_of(cfg: Config) -> dict[str, Any]:
    """Return the parts of a config that the result of its schedule depends on."""
    everything = cfg.to_dict()
    return {key: everything[key] for key in _RECIPE if key in everything}


def train_stage(cfg: Config, stage: Stage, folder: Path, *, resume: bool) -> Path:
    """Train a model in a stage's folder.

    Args:
        cfg: Config of the training; changed.
        stage: The stage.
        folder: Its folder, in which ``figures.json`` is written, too.
        resume: Whether to go on from the newest checkpoint; with none there it begins anew.

    Returns:
        The last checkpoint.
    """
    cfg.work_dir = str(folder)
    cfg.experiment_name = f"{folder.parent.name}-{stage.name}"
    cfg.resume = resume
    runner = RUNNERS.build(cfg)
    validation = _LastValidation()
    runner.register_hook(validation)
    runner.train()
    if runner.val_loop is not None:
        # None: stopped between the last checkpoint and the last validation, and resumed.
        figures = validation.figures or runner.val_loop.run()
        if is_main_process():
            write_file(folder / FIGURES, json.dumps(figures, indent=2, default=float))
    barrier()  # or a process would find the checkpoint before the one that is being written
    return Path(find_latest_checkpoint(str(folder)))


def write_stage_labels(cfg: Config, checkpoint: Path, folder: Path, rule: PseudoLabelRule) -> Path:
    """Write pseudo labels of all targets.

    Args:
        cfg: Config that the checkpoint belongs to.
        checkpoint: Checkpoint of the model that predicts.
        folder: Folder of the stage.
        rule: Which pixels keep their label.

    Returns:
        Folder with a folder for each target.
    """
    written = folder / "labels"
    # One process predicts: labels take minutes where trainings take hours.
    if is_main_process():
        source = dict(checkpoint=hashlib.sha256(checkpoint.read_bytes()).hexdigest())
        for target in cfg.train_dataloader.dataset.targets:
            labeller = TargetLabeller(cfg, checkpoint, domain=target)
            writer = PseudoLabelWriter(written / target, labeller.num_classes, rule, source)
            if not writer.is_complete():
                labeller.write(writer, ProgressBar(3 * len(labeller), file=sys.stderr).update)
    barrier()
    return written


def print_figures(schedule: Schedule) -> None:
    """Print the figures of the trainings that are there, in their order."""
    lines = []
    for name in schedule.stages:
        file = schedule.folder / name / FIGURES
        if schedule.is_done(name) and file.is_file():
            figures = json.loads(file.read_text())
            lines.append(f"{name:<18}{figures.get('mIoU', float('nan')):>7.2f}")
    print_log("\n".join(["schedule: mIoU of the target", *lines]), logger="current")


class _LastValidation(Hook):
    """Keeps the figures of the last validation."""

    def __init__(self) -> None:
        self.figures: dict[str, float] | None = None

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.figures = metrics
