"""Times Gaussian box losses on a CPU: our op and module, mmrotate's GDLoss, plain torch.

    python tools/benchmarks/gaussian_distance.py [--rows 1000 20000 196416] [--threads 1 2]

Prints one markdown table. A row of it is one forward and backward pass with the gradient of the
prediction, as a head asks for it. Each time is the best of several runs, in milliseconds; the
columns take turns, so that other load on the machine hits them alike. It is CPU time for one
thread, since a long run meets more of that load than a short one, and the clock's for several.
``op`` is ``mmext.ops.gaussian_distance(..., weight=(N,)).sum()``, ``plain`` its reference in plain
torch, ``GDLoss`` and ``mmrotate`` the modules with weights (N, 5), which is what heads pass. Boxes
that do not count have targets of zeros, as in a RetinaNet. Bytes a row are what the peak of a pass
adds to the resident size, inputs not counted, measured in a fresh process for each (Linux only).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmext.engine import import_host
from mmext.ops import gaussian_distance
from mmext.ops.gaussian_distance_reference import gaussian_distance_reference

NAMES = ("op", "plain", "GDLoss", "mmrotate")
# mmrotate's published settings, as arguments of GDLoss and of the op.
MODULES: dict[str, dict[str, Any]] = {
    "gwd": dict(loss_type="gwd"),
    "kld": dict(loss_type="kld", fun="log1p", tau=1.0, sqrt=False),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "gwd": dict(kind="gwd", normalize=True, sqrt=True, fun="log1p"),
    "kld": dict(kind="kld", fun="log1p", tau=1.0),
}
POSITIVE = 500


def make_boxes(rows: int, all_positive: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Draw predictions near their targets, and weights (N,) of which all or few are 1."""
    make = torch.Generator().manual_seed(0)
    places = 1024 * torch.rand(rows, 2, generator=make)
    sides = 8 + 100 * torch.rand(rows, 2, generator=make)
    angles = 3 * torch.rand(rows, 1, generator=make) - 1.5
    target = torch.cat([places, sides, angles], 1)
    noise = torch.tensor([3, 3, 2, 2, 0.1])
    pred = target + noise * torch.randn(rows, 5, generator=make)
    weight = torch.ones(rows)
    if not all_positive:
        weight[torch.randperm(rows, generator=make)[POSITIVE:]] = 0
        target[weight == 0] = 0
    return pred.requires_grad_(), target, weight


def pass_of(name: str, loss: str, rows: int, all_positive: bool) -> Callable[[], None]:
    """Return one forward and backward pass of a column of the table."""
    pred, target, weight = make_boxes(rows, all_positive)
    factor = float(weight.sum())
    if name in ("GDLoss", "mmrotate"):
        if name == "GDLoss":
            from mmext.rotated import GDLoss
        else:
            import_host("mmrotate")
            from mmrotate.models.losses import GDLoss
        module, weights = GDLoss(**MODULES[loss]), weight[:, None].repeat(1, 5)

        def value() -> Tensor:
            return module(pred, target, weights, avg_factor=factor)
    elif name == "op":

        def value() -> Tensor:
            return gaussian_distance(pred, target, weight=weight, **OPTIONS[loss]).sum() / factor
    else:
        options = dict(alpha=1.0, normalize=False, scale=1.0, sqrt=False, fun="none", tau=0.0)
        options |= OPTIONS[loss]

        def value() -> Tensor:
            return gaussian_distance_reference(pred, target, weight, **options).sum() / factor

    return lambda: torch.autograd.grad(value(), pred)


def warm_malloc() -> None:
    """Let go of a large tensor, as any training has: from then on malloc keeps what is freed.

    Before that each pass would ask the kernel for fresh pages, and the time would be that of page
    faults.
    """
    torch.zeros(30 << 18)


def best_times(passes: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """Return the shortest of several runs of each pass in milliseconds."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(passes, float("inf"))
    for run in passes.values():
        run()
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 5 or time.perf_counter() < end:
        rounds += 1
        for name, run in passes.items():
            # The quick ones get more chances to meet an idle core.
            for _ in range(1 if name in ("plain", "mmrotate") else 5):
                begin = clock()
                run()
                best[name] = min(best[name], 1e3 * (clock() - begin))
    return best


def resident_bytes(field: str) -> int:
    """Return the resident size of this process, VmRSS now or VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def measure_memory(cell: dict[str, Any]) -> float:
    """Return by how many bytes a row the peak of one pass lies above what was there before."""
    torch.set_num_threads(1)
    # A small pass first, so that libraries are loaded.
    pass_of(**{**cell, "rows": 2 * POSITIVE})()
    run = pass_of(**cell)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = resident_bytes("VmRSS")
    run()
    return (resident_bytes("VmHWM") - before) / cell["rows"]


def memory_of(cell: dict[str, Any]) -> float:
    """Measure one cell's memory in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--cell", json.dumps(cell)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring {cell} failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def table_row(loss: str, rows: int, all_positive: bool, threads: int, seconds: float) -> str:
    """Measure and format one line of the table."""
    torch.set_num_threads(threads)
    warm_malloc()
    best = best_times({name: pass_of(name, loss, rows, all_positive) for name in NAMES}, seconds)
    cells = [loss, str(rows), "all" if all_positive else str(POSITIVE), str(threads)]
    cells += [f"{best[name]:.2f}" for name in NAMES]
    cells += [f"{best['mmrotate'] / best[name]:.0f}" for name in ("op", "GDLoss")]
    for name in ("op", "GDLoss", "mmrotate"):
        cell = dict(name=name, loss=loss, rows=rows, all_positive=all_positive)
        # A page is 4 KiB: of a few rows nothing can be said.
        cells.append(f"{memory_of(cell):.0f}" if rows >= 100_000 and threads == 1 else "")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table, or the memory of one cell of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 20_000, 196_416])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--losses", nargs="+", choices=MODULES, default=list(MODULES))
    parser.add_argument("--seconds", type=float, default=4, help="time for a row of the table")
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        print(measure_memory(args.cell))
        return
    heads = ["loss", "rows", "positive", "threads", *(f"{name} ms" for name in NAMES)]
    heads += ["mmrotate / op", "mmrotate / GDLoss"]
    heads += [f"{name} B/row" for name in ("op", "GDLoss", "mmrotate")]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for threads in args.threads:
        for rows in args.rows:
            for loss in args.losses:
                for all_positive in (True, False):
                    print(table_row(loss, rows, all_positive, threads, args.seconds), flush=True)


if __name__ == "__main__":
    main()
