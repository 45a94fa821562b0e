"""What benchmarks measure alike: times in turns, memory of a fresh process, steps, tables."""

import argparse
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from mmengine.logging import MMLogger
from torch import Tensor, nn

STEP_HEADS = ("parameters", "step", "parts", "parts / step", "memory")


def best_times(calls: Mapping[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Return the shortest of several runs of each call, in seconds.

    The calls take turns, so that other load on the machine hits them alike. With one thread it is
    the time that the process had on a core, with more it is wall time.

    Args:
        calls: What to time, by name; each is run once before.
        runs: How often.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(calls, float("inf"))
    for call in calls.values():
        call()
    for _ in range(runs):
        for name, call in calls.items():
            begin = clock()
            call()
            best[name] = min(best[name], clock() - begin)
    return best


def resident_mib(field: str) -> float:
    """Return the resident size of this process, VmRSS now or VmHWM at its peak (Linux only)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def forget_peak() -> float:
    """Let the peak of this process count from here; return its resident size in MiB."""
    ctypes.CDLL(None).malloc_trim(0)  # what is free could be used again unseen
    Path("/proc/self/clear_refs").write_text("5")
    return resident_mib("VmRSS")


def in_fresh_process(script: str, cell: Mapping) -> float:
    """Let a benchmark measure one cell in a process of its own.

    Args:
        script: The benchmark's ``__file__``; with ``--cell`` and json it prints a number last.
        cell: What to measure.

    Raises:
        RuntimeError: It failed.
    """
    command = [sys.executable, str(Path(script).resolve()), "--cell", json.dumps(cell)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring {cell} failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def step_arguments(
    doc: str, domains: str, counts: Sequence[int], added_memory: Callable[..., float]
) -> argparse.Namespace:
    """Read the command line of a benchmark of training steps; in ``--cell`` mode measure and exit.

    Args:
        doc: The benchmark's docstring.
        domains: What is counted, the name of its option.
        counts: How many of them by default, a row for each.
        added_memory: Returns MiB that a cell adds to this process.

    Returns:
        With ``domains``, and ``runs`` for :func:`step_cells`.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(f"--{domains}", nargs="+", type=int, default=counts)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    MMLogger.get_instance("benchmark", log_level="ERROR")  # or it names each shared parameter
    if args.cell:
        print(added_memory(**json.loads(args.cell)))
        sys.exit()
    return args


def step_cells(
    model: nn.Module, calls: Mapping[str, Callable[[], Tensor]], runs: int, memory: float
) -> list[str]:
    """Return the cells below ``STEP_HEADS``: a step beside the same losses computed one by one.

    Args:
        model: What is trained.
        calls: ``step`` and ``parts``; each returns the sum of its losses.
        runs: How often each is timed.
        memory: MiB that the step adds.

    Raises:
        RuntimeError: The two do not have the same losses.
    """
    difference = (calls["step"]() - calls["parts"]()).abs().item()
    if not difference < 1e-3:
        raise RuntimeError(f"the losses of step and parts differ by {difference}")
    times = best_times(calls, runs)
    step, parts = times["step"], times["parts"]
    count = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    cells = [f"{count:.2f} M", f"{step:.2f} s", f"{parts:.2f} s", f"{parts / step:.2f}"]
    return [*cells, f"{memory:.0f} MiB"]


def print_head(*heads: str) -> None:
    """Print the first two lines of a markdown table."""
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)


def print_row(*cells: object) -> None:
    """Print a line of a markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
