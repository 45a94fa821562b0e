"""Train a model: ``python tools/train.py CONFIG [--resume] [--amp] [--cfg-options ...]``."""

import argparse

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS

import mmext  # noqa: F401  (lets configs inherit from 'mmext::...' and 'mmseg::...')
from mmext.engine import wrapper_configs
from mmext.engine.cli import add_common_arguments, load_config


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
    return parser.parse_args()


def apply_training_options(cfg: Config, args: argparse.Namespace) -> None:
    """Write ``--amp``, ``--auto-scale-lr`` and ``--resume`` into the config.

    Raises:
        ValueError: The config does not say for which batch size its learning rate is meant.
    """
    for wrapper in wrapper_configs(cfg.optim_wrapper) if args.amp else ():
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


def main() -> None:
    """Train."""
    args = parse_args()
    cfg = load_config(args)
    apply_training_options(cfg, args)
    RUNNERS.build(cfg).train()


if __name__ == "__main__":
    main()
