"""What ``tools/train.py`` and ``tools/test.py`` share: arguments and how they change a config."""

import argparse
import os
from pathlib import Path

from mmengine.config import Config, DictAction

from mmext.checkpoints.safe_load import TRUST_FLAG

from .hosts import import_host


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that training and testing share.

    Args:
        parser: Gets ``config --work-dir --cfg-options --launcher --local-rank`` and the flag that
            trusts checkpoints.
    """
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="folder for logs, checkpoints and results")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        help="settings that override the config: key=value, lists as key=a,b or key='[a,b]' "
        "(quotes needed, no spaces), nested keys with dots: model.bbox_head.num_classes=3",
    )
    parser.add_argument(
        TRUST_FLAG,
        action="store_true",
        help="read checkpoints with the unrestricted unpickler; they can run any code, so only "
        "for files whose origin you know",
    )
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="how the processes were started (torchrun: pytorch)",
    )
    # torchrun sets LOCAL_RANK; the older torch.distributed.launch passes it as an argument.
    parser.add_argument("--local-rank", "--local_rank", type=int, default=0, help=argparse.SUPPRESS)


def load_config(args: argparse.Namespace) -> Config:
    """Read the config, apply the common arguments and import what its scope needs.

    Args:
        args: Parsed arguments of :func:`add_common_arguments`.

    Returns:
        The config, with ``work_dir`` set: from the command line, else from the file, else
        ``work_dirs/<name of the config>``.

    Raises:
        FileNotFoundError: The config file does not exist.
    """
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    if not Path(args.config).is_file():
        raise FileNotFoundError(
            f"config {args.config!r} does not exist. Expected a .py config file, for example one "
            "below configs/."
        )
    cfg = Config.fromfile(args.config)
    cfg.launcher = args.launcher
    cfg.trust_checkpoint = args.trust_checkpoint or cfg.get("trust_checkpoint", False)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs") / Path(args.config).stem)
    # Not from our runner's module: the config may name a runner of its own.
    cfg.setdefault("runner_type", "mmext.Runner")
    import_host(cfg.get("default_scope", "mmengine"))
    return cfg
