"""Adapt a small segmentor by BDL and by each of its parts alone, and print the table.

All methods share network, optimiser and iterations of each training; BDL has more trainings than
its parts. Beside the target's mIoU stands the share of the gap between a training on the source
alone and one with the target's labels (oracle) that a method closes. Minutes are those of the
processor, over the runs that were not interrupted. What is finished stays in ``--out``: an
interrupted benchmark goes on where it stopped, also in the middle of a schedule.

    python tools/dataset_converters/streets.py
    python tools/benchmarks/adaptation_peers.py --data streets --seeds 0 1 2
"""

import argparse
import copy
import json
import statistics
import sys
from pathlib import Path

from mmengine.config import Config
from run_queue import ROOT, run_all, set_up, train, write_json

METHODS = ("source-only", "translation", "adversarial", "self-training", "bdl", "oracle")
DATA = ("streets", "camvid_dusk", "camvid_idd", "camvid_dusk_idd")


def load_config(method: str, data: str, seed: int, work_dir: Path) -> Config:
    """Return the config of one run.

    Args:
        method: One of ``METHODS``.
        data: One of ``DATA``.
        seed: Seed of initialisation, order and augmentation.
        work_dir: Folder for logs and checkpoints.
    """
    import mmext  # noqa: F401  (lets the config's bases be found)

    cfg = Config.fromfile(ROOT / "configs" / "bdl" / f"{method}_efflite0_streets.py")
    if data != "streets":
        file = Path(__file__).resolve().parent / "configs" / f"adaptation_{data}.py"
        show_data(cfg, Config.fromfile(file), labelled="target" if method == "oracle" else "source")
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=seed)
    cfg.launcher = "none"
    return cfg


def show_data(cfg: Config, data: Config, labelled: str) -> None:
    """Put another source and target into a config.

    Args:
        cfg: The config; changed.
        data: With ``source``, ``target``, ``tested``, ``resize``, ``num_classes`` and the
            ``schedule`` whose translators suit them.
        labelled: Which of the two has labels: ``'source'``, or ``'target'`` for the oracle.
    """
    dataset = cfg.train_dataloader.dataset
    for role, name in (("sources", labelled), ("targets", "target")):
        for key, domain in dataset[role].items():
            loaders = 2 if role == "sources" else 1
            pipeline = [*domain.pipeline[:loaders], data.resize, *domain.pipeline[loaders:]]
            dataset[role][key] = dict(data[name], pipeline=pipeline)
    load, labels, pack = cfg.test_dataloader.dataset.pipeline
    tested = dict(data.tested, pipeline=[load, data.resize, labels, pack])
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset = copy.deepcopy(tested)
    if cfg.get("schedule") and "translator" in cfg.schedule:
        translator = cfg.schedule.translator = copy.deepcopy(data.schedule.translator)
        translator.pipeline.insert(1, data.resize)
        translator.scale = data.size
    model = cfg.model
    model.segmentor.decode_head.num_classes = data.num_classes
    if model.get("discriminator"):
        model.discriminator.num_classes = data.num_classes


def run_one(method: str, data: str, seed: int, args: argparse.Namespace) -> None:
    """Train and test once in this process; write ``result.json`` when all of it is done."""
    set_up(args.threads, "mmseg")
    from mmext.engine import Runner

    folder = run_folder(args.out, method, data, seed)
    cfg = load_config(method, data, seed, folder)
    minutes = train(cfg)
    figures = Runner.from_cfg(cfg).test()
    result = dict(method=method, data=data, seed=seed, minutes=minutes, mIoU=figures["mIoU"])
    write_json(folder / "result.json", result)


def run_folder(out: Path, method: str, data: str, seed: int) -> Path:
    """Return the folder of one run."""
    return out / f"{data}-{method}-{seed}"


def command_of(run: tuple[str, str, int], args: argparse.Namespace) -> list[str]:
    """Return the command of one run in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--run", *map(str, run)]
    return [*command, "--threads", str(args.threads), "--out", str(args.out.resolve())]


def gap_shares(results: list[dict]) -> dict[tuple[str, int], float]:
    """Return which part of the gap each run closes, by method and seed.

    Args:
        results: Runs on one data set; seeds without both ends of the gap are left out.
    """
    figures = {(result["method"], result["seed"]): result["mIoU"] for result in results}
    shares = {}
    for (method, seed), figure in figures.items():
        low, high = (figures.get((end, seed)) for end in ("source-only", "oracle"))
        if low is not None and high is not None and high != low:
            shares[method, seed] = (figure - low) / (high - low)
    return shares


def markdown_table(results: list[dict]) -> str:
    """Return a line per method, with the mean and range over its seeds."""
    shares = gap_shares(results)
    lines = ["| method | seeds | mIoU | of the gap | CPU minutes |", "|---|---|---|---|---|"]
    for method in dict.fromkeys(result["method"] for result in results):
        group = [result for result in results if result["method"] == method]
        closed = [100 * s for (name, _), s in shares.items() if name == method]
        minutes = [result["minutes"] for result in group if result["minutes"] is not None]
        cells = [method, str(len(group)), with_range([r["mIoU"] for r in group], 1)]
        cells += [with_range(closed, 0, " %") if closed else ""]
        cells += [f"{statistics.mean(minutes):.1f}" if minutes else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def with_range(values: list[float], digits: int, unit: str = "") -> str:
    """Return the mean, and the range if there are several values."""
    text = f"{statistics.mean(values):.{digits}f}{unit}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    return text


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=DATA, default=["streets"])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/adaptation_peers"))
    parser.add_argument(
        "--run", nargs=3, metavar=("METHOD", "DATA", "SEED"), help=argparse.SUPPRESS
    )
    return parser.parse_args()


def main() -> None:
    """Run the benchmark, or (``--run``) one of its runs."""
    args = parse_args()
    if args.run:
        method, data, seed = args.run
        run_one(method, data, int(seed), args)
        return
    runs = [(m, d, s) for s in args.seeds for d in args.data for m in args.methods]
    commands = {run_folder(args.out, *run): command_of(run, args) for run in runs}
    run_all(commands, args.jobs, args.threads)
    for data in args.data:
        folders = [run_folder(args.out, *run) for run in runs if run[1] == data]
        results = [json.loads((folder / "result.json").read_text()) for folder in folders]
        print(f"\n{data}\n\n{markdown_table(results)}", flush=True)


if __name__ == "__main__":
    main()
