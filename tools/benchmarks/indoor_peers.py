"""Train small Group-Free-3D and HyperDet3D on rendered rooms, and print one table.

Same data, points, optimiser and epochs for all; HyperDet3D also without one of its two
hypernetworks, with their weights added, and with the backbone's features in place of points to
describe the scene. Each is tested on rooms like those that it learnt from and on rooms of another
style. The last epoch counts. Minutes are those of the processor, over the runs that were not
interrupted.

    python tools/dataset_converters/rooms.py
    python tools/benchmarks/indoor_peers.py --data rooms --seeds 0 1 2

What is finished stays in ``--out``: an interrupted benchmark goes on with the runs that are left.
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

DATA = ("rooms", "rooms-aligned")
METHODS = {
    "group-free3d": ("group_free3d/group-free3d", {}),
    "hyperdet3d": ("hyperdet3d/hyperdet3d", {}),
    "hyperdet3d-agnostic": ("hyperdet3d/hyperdet3d", {"model.hyper.fusion": "agnostic"}),
    "hyperdet3d-specific": ("hyperdet3d/hyperdet3d", {"model.hyper.fusion": "specific"}),
    "hyperdet3d-add": ("hyperdet3d/hyperdet3d", {"model.hyper.fusion": "add"}),
    "hyperdet3d-seeds": ("hyperdet3d/hyperdet3d", {"model.hyper.scene_source": "seeds"}),
}
"""Method to its config below ``configs`` and what is changed in it."""
FIGURES = ("mAP_0.25", "mAP_0.50")
STYLES = {"val": "same style", "other": "other style"}


def load_config(method: str, data: str, seed: int, work_dir: Path) -> Config:
    """Return the config of one run.

    Args:
        method: A key of ``METHODS``.
        data: One of ``DATA``.
        seed: Seed of initialisation, order and augmentation.
        work_dir: Folder for logs and checkpoints.
    """
    config, changes = METHODS[method]
    cfg = Config.fromfile(ROOT / "configs" / f"{config}_{data}.py")
    cfg.merge_from_dict(changes)
    cfg.work_dir = str(work_dir)
    cfg.randomness = dict(seed=seed)
    cfg.launcher = "none"
    return cfg


def show_style(cfg: Config, style: str) -> None:
    """Let a config test on a split of ``STYLES``."""
    form = cfg.val_dataloader.dataset.ann_file.rpartition("_")[0]
    cfg.test_dataloader.dataset.ann_file = f"{form}_{style}.pkl"
    cfg.experiment_name = f"{Path(cfg.work_dir).name}-{style}"


def run_one(method: str, data: str, seed: int, folder: Path, threads: int) -> None:
    """Train and test once in this process; write ``result.json`` when all of it is done."""
    set_up(threads, "mmengine")
    from mmext.engine import Runner

    cfg = load_config(method, data, seed, folder)
    minutes = train(cfg)
    result = dict(method=method, data=data, seed=seed, minutes=minutes)
    for style in STYLES:
        show_style(cfg, style)
        figures = Runner.from_cfg(copy.deepcopy(cfg)).test()
        result[style] = {name: 100 * figures[f"indoor/{name}"] for name in FIGURES}
    write_json(folder / "result.json", result)


def markdown_table(results: list[dict]) -> str:
    """Return a line per method, with the mean and range over its seeds."""
    columns = [(style, name) for style in STYLES for name in FIGURES]
    heads = [f"{STYLES[style]}, {name.replace('_', '@')}" for style, name in columns]
    heads = ["method", "seeds", *heads, "CPU minutes"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for method in dict.fromkeys(result["method"] for result in results):
        group = [result for result in results if result["method"] == method]
        cells = [with_range([run[style][name] for run in group], 1) for style, name in columns]
        minutes = [run["minutes"] for run in group if run["minutes"] is not None]
        cells = [method, str(len(group)), *cells]
        cells += [f"{statistics.mean(minutes):.1f}" if minutes else ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark, or (``--run``) one of its runs."""
    args = runs_parser(__doc__, data=DATA, methods=tuple(METHODS)).parse_args()
    runs = [(m, d, s) for s in args.seeds for d in args.data for m in args.methods]
    folders = train_runs(__file__, args, runs, run_one)
    for data in args.data:
        print(f"\n{data}\n\n{markdown_table(read_results(folders, data))}", flush=True)


if __name__ == "__main__":
    main()
