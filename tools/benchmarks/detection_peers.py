"""Train CenterNet++ and its peers for equal minutes on small real data, and print the table.

All models share backbone, optimiser, schedule, augmentation and threads, and the neck too, all but
the triplets and CPN (one map of stride 8); each gets as many iterations as fit into ``--minutes``.
For that the steps of all models are timed first, in turns in one process and by the processor's
time, so that other load hits all alike. The result and runs that are finished are kept in
``--out``: an interrupted benchmark goes on where it stopped.

    python tools/benchmarks/detection_peers.py --data trees bccd --seeds 0 1 2
"""

import argparse
import csv
import json
import resource
import statistics
import sys
import time
from pathlib import Path

from mmengine.config import Config
from run_queue import (
    TIMED_STEPS,
    WARM_UP_STEPS,
    StepTimer,
    run_all,
    set_iterations,
    set_up,
    write_json,
)

from mmext.files import replacing

CONFIGS = Path(__file__).resolve().parent / "configs"
MODELS = (
    "centernetpp",
    "centernetpp_stride4",
    "centernetpp_full",
    "centernet_triplet",
    "cpn",
    "centernet_update",
    "centernet_update_stride4",
    "fcos",
)
DATA = ("trees", "trees_plain", "bccd")


def load_config(model: str, data: str, seed: int, work_dir: Path) -> Config:
    """Return the config of one run: the model's, with the data's merged over it.

    Args:
        model: One of ``MODELS``.
        data: One of ``DATA``.
        seed: Seed of initialisation, order and augmentation.
        work_dir: Folder for the log.
    """
    cfg = Config.fromfile(CONFIGS / f"{model}.py")
    data_cfg = Config.fromfile(CONFIGS / f"{data}.py").to_dict()
    cfg.merge_from_dict(dict(model=dict(bbox_head=dict(num_classes=data_cfg.pop("num_classes")))))
    for key in ("test_evaluator", "val_evaluator"):  # a list does not merge with a dict
        if key in data_cfg:
            cfg[key] = data_cfg.pop(key)
    cfg.merge_from_dict(data_cfg)
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=seed)
    return cfg


def calibrate(runs: list[tuple[str, str, int]], args: argparse.Namespace) -> None:
    """Write ``calibration.json``, the seconds per step of each model on each data set.

    What it holds already stays; the rest is timed in turns.
    """
    path = args.out / "calibration.json"
    seconds = json.loads(path.read_text()) if path.is_file() else {}
    pairs = {f"{data}-{model}": (model, data) for model, data, _ in runs}
    missing = {name: pair for name, pair in pairs.items() if name not in seconds}
    if not missing:
        return
    set_up(args.threads, "mmdet")
    from mmengine.registry import DefaultScope

    DefaultScope.get_instance("calibration", scope_name="mmdet")
    timers = {
        name: StepTimer(load_config(*pair, 0, args.out), args.threads)
        for name, pair in missing.items()
    }
    for _ in range(WARM_UP_STEPS + TIMED_STEPS):
        for timer in timers.values():
            timer.step()
    seconds |= {name: timer.seconds() for name, timer in timers.items()}
    print("seconds per step:", seconds, flush=True)
    write_json(path, seconds)


def run_one(model: str, data: str, seed: int, args: argparse.Namespace) -> None:
    """Train and test once in this process; write ``result.json`` when all of it is done."""
    set_up(args.threads, "mmdet")
    from mmext.engine import Runner

    work_dir = run_folder(args.out, model, data, seed)
    cfg = load_config(model, data, seed, work_dir)
    iterations = args.iterations
    if iterations is None:
        seconds_per_step = json.loads((args.out / "calibration.json").read_text())
        iterations = round(60 * args.minutes / seconds_per_step[f"{data}-{model}"])
    set_iterations(cfg, iterations)
    # With the config beside it, for tools/test.py and its like.
    cfg.default_hooks.checkpoint = dict(
        type="CheckpointHook",
        by_epoch=False,
        interval=iterations,
        save_optimizer=False,
        save_param_scheduler=False,
    )
    runner = Runner.from_cfg(cfg)
    start = time.perf_counter()
    runner.train()
    seconds = time.perf_counter() - start
    metrics = runner.test()
    result = dict(
        model=model,
        data=data,
        seed=seed,
        minutes=seconds / 60,
        iterations=iterations,
        parameters=sum(p.numel() for p in runner.model.parameters()),
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        metrics={key: value for key, value in metrics.items() if value == value},
    )
    write_json(work_dir / "result.json", result)


def run_folder(out: Path, model: str, data: str, seed: int) -> Path:
    """Return the folder of one run."""
    return out / f"{data}-{model}-{seed}"


def command_of(run: tuple[str, str, int], args: argparse.Namespace) -> list[str]:
    """Return the command of one run in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--run", *map(str, run)]
    command += ["--minutes", str(args.minutes), "--threads", str(args.threads)]
    command += ["--out", str(args.out.resolve())]
    if args.iterations:
        command += ["--iterations", str(args.iterations)]
    return command


def summarise(runs: list[tuple[str, str, int]], out: Path) -> None:
    """Write ``results.csv`` (a row per run) and print a markdown table per data set."""
    results = [json.loads((run_folder(out, *run) / "result.json").read_text()) for run in runs]
    rows = [{**result, **result.pop("metrics")} for result in results]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(out / "results.csv") as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    for data in dict.fromkeys(row["data"] for row in rows):
        print(f"\n{data}\n\n{markdown_table([row for row in rows if row['data'] == data])}")
    print(f"\nall figures: {out / 'results.csv'}")


def markdown_table(rows: list[dict]) -> str:
    """Return one line per model with the mean over its seeds and the range of each figure."""
    figures = [key for key in rows[0] if key.endswith(("bbox_mAP", "bbox_mAP_50", "_precision"))]
    names = [key.replace("bbox_mAP_50", "AP50").replace("bbox_mAP", "AP") for key in figures]
    header = ["model", "seeds", *names, "it/s", "M params", "peak MB"]
    lines = [header, ["---"] * len(header)]
    for model in dict.fromkeys(row["model"] for row in rows):
        group = [row for row in rows if row["model"] == model]
        cells = [model, str(len(group))]
        for key in figures:
            values = [row[key] for row in group]
            cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})")
        speed = statistics.mean(row["iterations"] / row["minutes"] / 60 for row in group)
        cells += [f"{speed:.2f}", f"{group[0]['parameters'] / 1e6:.2f}"]
        cells.append(f"{max(row['peak_rss_mb'] for row in group):.0f}")
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=["trees", "bccd"])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--minutes", type=float, default=6.5, help="training time of each run")
    parser.add_argument("--iterations", type=int, help="instead of --minutes, for quick checks")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/detection_peers"))
    parser.add_argument("--run", nargs=3, metavar=("MODEL", "DATA", "SEED"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run the benchmark, or (``--run``) one of its runs."""
    args = parse_args()
    if args.run:
        model, data, seed = args.run
        run_one(model, data, int(seed), args)
        return
    runs = [(m, d, s) for s in args.seeds for d in args.data for m in args.models]
    if args.iterations is None:
        calibrate(runs, args)
    commands = {run_folder(args.out, *run): command_of(run, args) for run in runs}
    run_all(commands, args.jobs, args.threads)
    summarise(runs, args.out)


if __name__ == "__main__":
    main()
