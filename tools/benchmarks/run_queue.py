"""What the training benchmarks share: runs in processes of their own, finished ones kept."""

import argparse
import copy
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config

from mmext.files import write_file

ROOT = Path(__file__).resolve().parents[2]
WARM_UP_STEPS, TIMED_STEPS = 3, 9

Run = tuple[str, str, int]
"""Method, data and seed of a training."""


def set_iterations(cfg: Config, iterations: int) -> None:
    """Stretch the schedule of ``cfg`` to ``iterations``, and validate only after the last one."""
    scale = iterations / cfg.train_cfg.max_iters
    for scheduler in cfg.param_scheduler:
        for key in ("begin", "end", "T_max"):
            if key in scheduler:
                scheduler[key] = round(scheduler[key] * scale)
    cfg.train_cfg.max_iters = iterations
    cfg.train_cfg.val_begin = iterations + 1
    cfg.train_cfg.val_interval = iterations + 1


def set_up(threads: int, scope: str) -> None:
    """Limit the threads of this process and load a host package.

    Args:
        threads: Threads of torch.
        scope: The package, such as ``'mmdet'``.
    """
    import cv2
    import torch

    from mmext.engine import import_host

    torch.set_num_threads(threads)
    cv2.setNumThreads(0)
    import_host(scope)


class StepTimer:
    """A model of its own that takes training steps, and how long they took.

    Args:
        cfg: Config of the run; its model is looked up in the default scope.
        threads: Threads of the run.
    """

    def __init__(self, cfg: Config, threads: int) -> None:
        from mmengine.optim import build_optim_wrapper
        from mmengine.registry import MODELS
        from mmengine.runner import Runner

        self.model = MODELS.build(cfg.model)
        self.model.init_weights()
        self.model.train()
        self.optim_wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
        self.batches = iter(Runner.build_dataloader(cfg.train_dataloader, seed=0))
        self.threads = threads
        self.times: list[float] = []

    def step(self) -> None:
        """Take one step with its data."""
        start = time.process_time()
        self.model.train_step(next(self.batches), self.optim_wrapper)
        self.times.append((time.process_time() - start) / self.threads)

    def seconds(self) -> float:
        """Return the median time of a step in seconds of one thread."""
        return statistics.median(self.times[WARM_UP_STEPS:])


def train(cfg: Config) -> float | None:
    """Train by a config, or by its schedule, which goes on where it was stopped.

    Args:
        cfg: The config; afterwards it names the trained weights to load.

    Returns:
        The minutes of the processor; None if an earlier process did a part of the work.
    """
    from mmengine.runner import find_latest_checkpoint

    from mmext.engine import Runner
    from mmext.registry import SCHEDULES

    resumed = (Path(cfg.work_dir) / "schedule.json").is_file()
    start = time.process_time()
    if cfg.get("schedule"):
        cfg.resume = True
        checkpoint = str(SCHEDULES.build(cfg.schedule).run(cfg))
    else:
        Runner.from_cfg(copy.deepcopy(cfg)).train()
        checkpoint = find_latest_checkpoint(cfg.work_dir)
    minutes = None if resumed else (time.process_time() - start) / 60
    cfg.load_from, cfg.resume = checkpoint, False
    return minutes


def write_json(path: Path, value: dict) -> None:
    """Write ``value`` so that the file is whole or absent."""
    write_file(path, json.dumps(value, indent=2, default=float))


def runs_parser(
    doc: str, *, data: Sequence[str], methods: Sequence[str] | None = None
) -> argparse.ArgumentParser:
    """Return the command line of a benchmark that trains each method on each data set.

    Args:
        doc: The script's docstring.
        data: What ``--data`` knows; the first is the default.
        methods: What ``--methods`` knows, and its default. None: it depends on the data.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--data", nargs="+", choices=data, default=[data[0]])
    default = None if methods is None else list(methods)
    parser.add_argument(
        "--methods", nargs="+", choices=methods, default=default, help="default: all of them"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of each run")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--out", type=Path, help="default: a folder in work_dirs")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    return parser


def train_runs(
    script: str,
    args: argparse.Namespace,
    runs: Sequence[Run],
    run_one: Callable[[str, str, int, Path, int], None],
) -> dict[Run, Path]:
    """Train what is not finished yet, each run in a process of its own.

    In such a process, of which ``args`` has the ``run``, train it and leave.

    Args:
        script: The benchmark's ``__file__``.
        args: What :func:`runs_parser` read.
        runs: All runs.
        run_one: Trains one; gets method, data, seed, folder and threads, and writes ``result.json``
            into the folder when all of it is done.

    Returns:
        The folder of each run.
    """
    out = args.out or Path("work_dirs") / Path(script).stem
    if args.run:
        method, data, seed = args.run
        run_one(method, data, int(seed), run_folder(out, method, data, int(seed)), args.threads)
        sys.exit()
    folders = {run: run_folder(out, *run) for run in runs}
    start = [sys.executable, str(Path(script).resolve())]
    end = ["--threads", str(args.threads), "--out", str(out.resolve())]
    commands = {folders[run]: [*start, "--run", *map(str, run), *end] for run in runs}
    run_all(commands, args.jobs, args.threads)
    return folders


def run_folder(out: Path, method: str, data: str, seed: int) -> Path:
    """Return the folder of one run."""
    return out / f"{data}-{method}-{seed}"


def read_results(folders: dict[Run, Path], data: str) -> list[dict]:
    """Return what the runs on a data set wrote."""
    chosen = [folder for run, folder in folders.items() if run[1] == data]
    return [json.loads((folder / "result.json").read_text()) for folder in chosen]


def with_range(values: list[float], digits: int, unit: str = "") -> str:
    """Return the mean, and the range if there are several values."""
    text = f"{statistics.mean(values):.{digits}f}{unit}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    return text


def run_all(commands: dict[Path, list[str]], jobs: int, threads: int) -> None:
    """Run what is not finished yet in ``jobs`` processes at a time.

    Args:
        commands: Folder of each run to its command; the command writes ``result.json`` there when
            it is done, and its output goes to ``stdout.log``.
        jobs: Processes side by side.
        threads: Threads of each.

    Raises:
        SystemExit: A run failed; its log's last lines are printed.
    """
    waiting = [folder for folder in commands if not (folder / "result.json").is_file()]
    print(f"{len(commands) - len(waiting)} of {len(commands)} runs are finished", flush=True)
    total, started = len(waiting), time.time()
    active: dict[subprocess.Popen, Path] = {}
    # Without a handler SIGTERM would end this process alone and leave its runs behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    try:
        while waiting or active:
            while waiting and len(active) < jobs:
                folder = waiting.pop(0)
                active[_start(folder, commands[folder], threads)] = folder
            time.sleep(1)
            for process in [p for p in active if p.poll() is not None]:
                folder = active.pop(process)
                if process.returncode != 0:
                    tail = (folder / "stdout.log").read_text().splitlines()[-15:]
                    sys.exit("\n".join([*tail, f"{folder} failed; all of it: {folder}/stdout.log"]))
                done = total - len(waiting) - len(active)
                left = (time.time() - started) / done * (total - done)
                print(f"[{done}/{total}] {folder.name}, about {left / 60:.0f} min left", flush=True)
    finally:
        for process in active:
            process.terminate()


def _start(folder: Path, command: list[str], threads: int) -> subprocess.Popen:
    folder.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ, OMP_NUM_THREADS=str(threads))
    with (folder / "stdout.log").open("w") as log:
        return subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT)
