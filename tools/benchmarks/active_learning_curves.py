"""Run campaigns of active learning that differ in training and selection, and report the curves.

Plain RetinaNet with images chosen at random, by entropy and by core-set, then MI-AOD's training
with images chosen at random and with its own choice: the same network, optimiser, data and passes
over the labelled images, each campaign with several seeds.

    python tools/dataset_converters/al_shapes.py
    python tools/benchmarks/active_learning_curves.py --data al_shapes --seeds 0 1 2

What is finished stays in ``--out``, where ``tools/al_report.py`` writes tables and curves. An
interrupted benchmark goes on where it stopped, also in the middle of a campaign.
"""

import subprocess
import sys
import time
from pathlib import Path

from mmengine.config import Config
from run_queue import ROOT, runs_parser, set_up, train_runs, write_json

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


def run_one(method: str, data: str, seed: int, folder: Path, threads: int) -> None:
    """Run a campaign in this process; write ``result.json`` when all of it is done."""
    set_up(threads, "mmdet")
    from mmext.engine import Runner

    cfg = load_config(method, data, seed, folder)
    resumed, start = cfg.resume, time.process_time()
    Runner.from_cfg(cfg).train()
    minutes = None if resumed else (time.process_time() - start) / 60
    write_json(folder / "result.json", dict(method=method, data=data, seed=seed, minutes=minutes))


def main() -> None:
    """Run the benchmark, or (``--run``) one of its campaigns."""
    parser = runs_parser(__doc__, data=DATA, methods=tuple(CONFIGS))
    parser.add_argument("--metric", default="coco/bbox_mAP_50", help="what the report shows")
    args = parser.parse_args()
    runs = [(m, d, s) for s in args.seeds for d in args.data for m in args.methods]
    folders = train_runs(__file__, args, runs, run_one)
    for data in args.data:
        campaigns = [folders[m, data, s] for m in args.methods for s in args.seeds]
        out = campaigns[0].parent / f"{data}-report"
        report = [sys.executable, ROOT / "tools" / "al_report.py", *campaigns, "--out", out]
        subprocess.run([*report, "--metric", args.metric], check=True)


if __name__ == "__main__":
    main()
