"""Train a model: ``python tools/train.py CONFIG [--resume] [--amp] [--cfg-options ...]``.

A config with a ``schedule`` is trained in stages that build on each other, in one command. What is
done is kept in the work directory, and the same command goes on after it; ``--resume`` also goes on
in the middle of a training. ``--stage NAME`` runs a stage alone.
"""

import argparse

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS

import mmext  # noqa: F401  (lets configs inherit from 'mmext::...' and 'mmseg::...')
from mmext.engine import wrapper_configs
from mmext.engine.cli import add_common_arguments, load_config
from mmext.registry import SCHEDULES


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Train a model")
    add_common_arguments(parser)
    parser.add_argument(
        "--amp",
        action="store_true",
        help="automatic mixed precision: float16 on an accelerator, bfloat16 on a CPU",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate with the batch size, by the config's auto_scale_lr",
    )
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from CHECKPOINT, or from the newest one in the work directory",
    )
    parser.add_argument("--stage", metavar="NAME", help="run this stage of the schedule alone")
    return parser.parse_args()


def apply_training_options(cfg: Config, args: argparse.Namespace) -> None:
    """Write ``--amp``, ``--auto-scale-lr`` and ``--resume`` into the config.

    Raises:
        ValueError: The config does not say for which batch size its learning rate is meant.
    """
    for wrapper in _optim_wrappers(cfg) if args.amp else ():
        if get_device() == "cpu":
            wrapper.type = "mmext.CPUAmpOptimWrapper"
        else:
            wrapper.type = "AmpOptimWrapper"
            wrapper.loss_scale = "dynamic"
    if args.auto_scale_lr:
        if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
            raise ValueError(
                f"--auto-scale-lr: {args.config} has no auto_scale_lr.base_batch_size. Add "
                "auto_scale_lr=dict(base_batch_size=N) with the batch size of the learning rate."
            )
        cfg.auto_scale_lr.enable = True
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == "auto" else args.resume


def _optim_wrappers(cfg: Config) -> list[dict]:
    """Return the configs of all optimiser wrappers, also those of a schedule's stages."""
    stages = [stage for stage in cfg.get("schedule", {}).values() if isinstance(stage, dict)]
    found = [part.optim_wrapper for part in (cfg, *stages) if "optim_wrapper" in part]
    return [wrapper for part in found for wrapper in wrapper_configs(part)]


def train_in_stages(cfg: Config, args: argparse.Namespace) -> None:
    """Run the config's schedule, or one stage of it.

    Raises:
        ValueError: There is no schedule to take a stage of, or a checkpoint is named.
    """
    if "schedule" not in cfg:
        raise ValueError(f"--stage {args.stage}: {args.config} has no schedule. Remove --stage.")
    if cfg.get("load_from") is not None:
        raise ValueError(
            f"a schedule finds its checkpoints itself, and got {cfg.load_from}. Write --resume "
            "without a file, or set init_cfg in the segmentor."
        )
    SCHEDULES.build(cfg.schedule).run(cfg, args.stage)


def main() -> None:
    """Train."""
    args = parse_args()
    cfg = load_config(args)
    apply_training_options(cfg, args)
    if "schedule" in cfg or args.stage is not None:
        train_in_stages(cfg, args)
    else:
        RUNNERS.build(cfg).train()


if __name__ == "__main__":
    main()
