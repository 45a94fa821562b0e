"""Run campaigns of active learning that differ in training and selection, and report the curves.

Plain RetinaNet with images chosen at random, by entropy and by core-set, then MI-AOD's training
with images chosen at random and with its own choice: the same network, optimiser, data and passes
over the labelled images, each campaign with several seeds.

    python tools/dataset_converters/al_shapes.py
    python tools/benchmarks/active_learning_curves.py --data al_shapes --seeds 0 1 2

What is finished stays in ``--out``, where ``tools/al_report.py`` writes tables and curves. An
interrupted benchmark goes on where it stopped, also in the middle of a campaign.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config
from run_queue import ROOT, run_all, set_up, write_json

CONFIGS = {
    "random": "active_learning/retinanet_efflite0_al-shapes_random.py",
    "entropy": "active_learning/retinanet_efflite0_al-shapes_entropy.py",
    "core-set": "active_learning/retinanet_efflite0_al-shapes_core-set.py",
    "miaod-random": "mi_aod/miaod-random_retinanet_efflite0_al-shapes.py",
    "miaod": "mi_aod/miaod_retinanet_efflite0_al-shapes.py",
}
"""Method to its config below ``configs``; the plain training comes first, as the report wants."""
DATA = ("al_shapes", "bccd")


def load_config(method: str, data: str, seed: int, work_dir: Path) -> Config:
    """Return the config of one campaign, which goes on if it has begun.

    Args:
        method: A key of ``CONFIGS``.
        data: One of ``DATA``.
        seed: Seed of initialisation, order, augmentation and random choices.
        work_dir: Folder of the campaign.
    """
    cfg = Config.fromfile(ROOT / "configs" / CONFIGS[method])
    if data != "al_shapes":
        own = Path(__file__).resolve().parent / "configs" / f"campaign_{data}.py"
        cfg.merge_from_dict(Config.fromfile(own).to_dict())
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=seed)
    cfg.launcher = "none"
    cfg.resume = (work_dir / "pool.json").is_file()
    return cfg


def run_one(method: str, data: str, seed: int, args: argparse.Namespace) -> None:
    """Run a campaign in this process; write ``result.json`` when all of it is done."""
    set_up(args.threads, "mmdet")
    from mmext.engine import Runner

    folder = run_folder(args.out, method, data, seed)
    cfg = load_config(method, data, seed, folder)
    resumed, start = cfg.resume, time.process_time()
    Runner.from_cfg(cfg).train()
    minutes = None if resumed else (time.process_time() - start) / 60
    write_json(folder / "result.json", dict(method=method, data=data, seed=seed, minutes=minutes))


def run_folder(out: Path, method: str, data: str, seed: int) -> Path:
    """Return the folder of one campaign."""
    return out / f"{data}-{method}-{seed}"


def command_of(run: tuple[str, str, int], args: argparse.Namespace) -> list[str]:
    """Return the command of one campaign in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--run", *map(str, run)]
    return [*command, "--threads", str(args.threads), "--out", str(args.out.resolve())]


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=["al_shapes"])
    parser.add_argument("--methods", nargs="+", choices=CONFIGS, default=list(CONFIGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--metric", default="coco/bbox_mAP_50", help="what the report shows")
    parser.add_argument("--threads", type=int, default=1, help="threads of each campaign")
    parser.add_argument("--jobs", type=int, default=1, help="campaigns side by side")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/active_learning_curves"))
    parser.add_argument(
        "--run", nargs=3, metavar=("METHOD", "DATA", "SEED"), help=argparse.SUPPRESS
    )
    return parser.parse_args()


def main() -> None:
    """Run the benchmark, or (``--run``) one of its campaigns."""
    args = parse_args()
    if args.run:
        method, data, seed = args.run
        run_one(method, data, int(seed), args)
        return
    runs = [(m, d, s) for s in args.seeds for d in args.data for m in args.methods]
    commands = {run_folder(args.out, *run): command_of(run, args) for run in runs}
    run_all(commands, args.jobs, args.threads)
    for data in args.data:
        folders = [
            run_folder(args.out, method, data, seed)
            for method in args.methods
            for seed in args.seeds
        ]
        out = args.out / f"{data}-report"
        report = [sys.executable, ROOT / "tools" / "al_report.py", *folders, "--out", out]
        subprocess.run([*report, "--metric", args.metric], check=True)


if __name__ == "__main__":
    main()
