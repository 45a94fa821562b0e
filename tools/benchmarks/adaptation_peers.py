"""Adapt a small segmentor by BDL and by each of its parts alone, and print the table.

All methods share network, optimiser and iterations of each training; BDL has more trainings than
its parts. Beside the target's mIoU stands the share of the gap between a training on the source
alone and one with the target's labels (oracle) that a method closes. Minutes are those of the
processor, over the runs that were not interrupted. What is finished stays in ``--out``: an
interrupted benchmark goes on where it stopped, also in the middle of a schedule.

    python tools/dataset_converters/streets.py
    python tools/benchmarks/adaptation_peers.py --data streets --seeds 0 1 2
"""

import copy
import statistics
from pathlib import Path

from mmengine.config import Config
from run_queue import (
    ROOT,
    read_results,
    runs_parser,
    set_up,
    train,
    train_runs,
    with_range,
    write_json,
)

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


def run_one(method: str, data: str, seed: int, folder: Path, threads: int) -> None:
    """Train and test once in this process; write ``result.json`` when all of it is done."""
    set_up(threads, "mmseg")
    from mmext.engine import Runner

    cfg = load_config(method, data, seed, folder)
    minutes = train(cfg)
    figures = Runner.from_cfg(cfg).test()
    result = dict(method=method, data=data, seed=seed, minutes=minutes, mIoU=figures["mIoU"])
    write_json(folder / "result.json", result)


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


def main() -> None:
    """Run the benchmark, or (``--run``) one of its runs."""
    args = runs_parser(__doc__, data=DATA, methods=METHODS).parse_args()
    runs = [(m, d, s) for s in args.seeds for d in args.data for m in args.methods]
    folders = train_runs(__file__, args, runs, run_one)
    for data in args.data:
        print(f"\n{data}\n\n{markdown_table(read_results(folders, data))}", flush=True)


if __name__ == "__main__":
    main()
