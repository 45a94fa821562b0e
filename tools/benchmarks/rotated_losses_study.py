"""Train one rotated detector with each box loss and print AP by IoU and by length to width.

Everything but the loss is the same: detector, iterations, order of the images, seeds. Finished
runs are kept in ``--out``: an interrupted study goes on where it stopped.

    python tools/benchmarks/rotated_losses_study.py --seeds 0 1 2 --iterations 400

Then on the few real images of ``hrsc_ships``, each run from the weights of its loss and seed on
``ships`` (from ImageNet's weights alone AP50 stays at 0.02 in these minutes):

    python tools/benchmarks/rotated_losses_study.py --data hrsc_ships --seeds 0 1 2 --iterations 250

A search for a loss weight, judged on the validation images:

    python tools/benchmarks/rotated_losses_study.py --losses kld --split val --loss-weight 1 2 5
"""

import argparse
import csv
import json
import math
import os
import resource
import shutil
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from mmengine.config import Config
from run_queue import ROOT, run_all, set_iterations, set_up, write_json

from mmext.files import replacing

CONFIGS = ROOT / "configs" / "rotated_losses"
DATA_CONFIGS = Path(__file__).resolve().parent / "configs"
LOSSES = ("smooth-l1", "riou", "gwd", "kld")
DATA = ("ships", "hrsc_ships")


@dataclass(frozen=True)
class Run:
    """One training: its loss, data, seed, evaluated split and loss weight (None: the config's)."""

    loss: str
    data: str
    seed: int
    split: str
    weight: float | None

    @property
    def name(self) -> str:
        """What its folder is called."""
        weight = "" if self.weight is None else f"-x{self.weight:g}"
        return f"{self.data}-{self.loss}{weight}-{self.split}-{self.seed}"


def load_config(run: Run, out: Path) -> Config:
    """Return the config of one run.

    Args:
        run: The run.
        out: Folder of the study; holds the label folders of ``hrsc_ships``.
    """
    cfg = Config.fromfile(CONFIGS / f"rotated-retinanet_efflite0_ships_{run.loss}.py")
    if run.data != "ships":
        data_cfg = Config.fromfile(DATA_CONFIGS / f"{run.data}.py").to_dict()
        cfg.model.bbox_head.num_classes = data_cfg["num_classes"]
        for key in ("train_dataloader", "val_dataloader", "test_dataloader"):
            cfg[key].dataset.update(data_cfg[key]["dataset"])
            folder = out / f"{run.data}_labels" / key.removesuffix("_dataloader")
            cfg[key].dataset.ann_file = str(folder.resolve())
        for key in ("val_evaluator", "test_evaluator"):
            cfg[key].update(data_cfg[key])
    if run.split == "val":
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
    if run.weight is not None:
        cfg.model.bbox_head.loss_bbox.loss_weight = run.weight
    cfg.work_dir = str(out / run.name)
    cfg.randomness = dict(seed=run.seed)
    return cfg


def sort_labels(out: Path) -> None:
    """Copy the label files of ``hrsc_ships`` into a folder per split: mmrotate reads whole folders.

    Raises:
        SystemExit: The data set is not there.
    """
    source = Path(os.environ.get("MMEXT_SHARED", "../shared")) / "data" / "hrsc_ships"
    if not source.is_dir():
        sys.exit(f"hrsc_ships is expected in {source.resolve()}; set MMEXT_SHARED to its parent's")
    for split in ("train", "val", "test"):
        folder = out / "hrsc_ships_labels" / split
        names = (source / "splits" / f"{split}.txt").read_text().split()
        if folder.is_dir() and len(list(folder.iterdir())) == len(names):
            continue
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(source / "labelTxt" / f"{name}.txt", folder)


def weights_on_ships(run: Run, out: Path) -> Path:
    """Return the checkpoint that the run with the same loss, weight and seed on ``ships`` made.

    Raises:
        SystemExit: That run is not finished.
    """
    folder = out / replace(run, data="ships").name
    if not (folder / "result.json").is_file():
        sys.exit(
            f"{run.name} starts from the weights in {folder}, which are not there; "
            "run the study with --data ships first"
        )
    return folder / Path((folder / "last_checkpoint").read_text()).name


def run_one(run: Run, args: argparse.Namespace) -> None:
    """Train and evaluate once in this process; write ``result.json`` when all of it is done."""
    set_up(args.threads, "mmrotate")
    from mmext.engine import Runner

    cfg = load_config(run, args.out)
    if run.data != "ships":
        cfg.load_from = str(weights_on_ships(run, args.out))
    iterations = args.iterations or cfg.train_cfg.max_iters
    set_iterations(cfg, iterations)
    cfg.default_hooks.checkpoint = dict(
        type="CheckpointHook",
        by_epoch=False,
        interval=iterations,
        save_optimizer=False,
        save_param_scheduler=False,
    )
    runner = Runner.from_cfg(cfg)
    start = time.process_time()
    runner.train()
    minutes = (time.process_time() - start) / 60
    metrics = runner.test()
    result = dict(
        loss=run.loss,
        data=run.data,
        seed=run.seed,
        split=run.split,
        loss_weight=cfg.model.bbox_head.loss_bbox.loss_weight,
        iterations=iterations,
        cpu_minutes=minutes,
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        # Without the bins that hold no object.
        metrics={
            key.removeprefix("dota/"): value
            for key, value in metrics.items()
            if not math.isnan(value)
        },
    )
    write_json(args.out / run.name / "result.json", result)


def command_of(run: Run, args: argparse.Namespace) -> list[str]:
    """Return the command of one run in a process of its own."""
    weight = [] if run.weight is None else [str(run.weight)]
    command = [sys.executable, str(Path(__file__).resolve())]
    command += ["--run", run.loss, run.data, str(run.seed), run.split, *weight]
    command += ["--threads", str(args.threads), "--out", str(args.out)]
    if args.iterations:
        command += ["--iterations", str(args.iterations)]
    return command


def summarise(runs: list[Run], out: Path) -> None:
    """Write ``results_DATA.csv`` (a row per run) and print a markdown table."""
    results = [json.loads((out / run.name / "result.json").read_text()) for run in runs]
    rows = [{**result, **result["metrics"]} for result in results]
    for row in rows:
        del row["metrics"]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    path = out / f"results_{rows[0]['data']}.csv"
    with replacing(path) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)
    print(f"\n{markdown_table(rows)}\n\nall figures: {path}")


def markdown_table(rows: list[dict]) -> str:
    """Return a line per loss and weight for all objects and for each range of length to width.

    A cell is the mean over the seeds and, with several, the range.
    """
    names = [key for key in rows[0] if key.startswith("AP")]
    thresholds = [name for name in names if "_aspect_" not in name]
    bins = dict.fromkeys(name.split("_aspect_")[1] for name in names if "_aspect_" in name)
    lines = [["length : width", "loss", "weight", "seeds", *thresholds]]
    lines.append(["---"] * len(lines[0]))
    groups = list(dict.fromkeys((row["loss"], row["loss_weight"]) for row in rows))
    for group in ("all", *bins):
        for loss, weight in groups:
            part = [r for r in rows if (r["loss"], r["loss_weight"]) == (loss, weight)]
            cells = [group, loss, f"{weight:g}", str(len(part))]
            for threshold in thresholds:
                key = threshold if group == "all" else f"{threshold}_aspect_{group}"
                cells.append(_cell([row[key] for row in part]))
            lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(values: list[float]) -> str:
    spread = f" ({min(values):.3f}-{max(values):.3f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=DATA, default="ships")
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--split", choices=("test", "val"), default="test", help="evaluated images")
    parser.add_argument("--loss-weight", nargs="+", type=float, help="in place of the configs'")
    parser.add_argument("--iterations", type=int, help="in place of the configs'")
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/rotated_losses_study"))
    parser.add_argument("--run", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.out = args.out.resolve()
    return args


def main() -> None:
    """Run the study, or (``--run``) one of its runs."""
    args = parse_args()
    if args.run:
        loss, data, seed, split, *weight = args.run
        run_one(Run(loss, data, int(seed), split, float(weight[0]) if weight else None), args)
        return
    runs = [
        Run(loss, args.data, seed, args.split, weight)
        for seed in args.seeds
        for loss in args.losses
        for weight in args.loss_weight or [None]
    ]
    if args.data == "hrsc_ships":
        sort_labels(args.out)
        for run in runs:
            weights_on_ships(run, args.out)
    run_all({args.out / run.name: command_of(run, args) for run in runs}, args.jobs, args.threads)
    summarise(runs, args.out)


if __name__ == "__main__":
    main()
