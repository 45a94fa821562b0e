"""What the benchmarks measure alike: times in turns, the memory of a fresh process, tables."""

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


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


def print_head(*heads: str) -> None:
    """Print the first two lines of a markdown table."""
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)


def print_row(*cells: object) -> None:
    """Print a line of a markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)
