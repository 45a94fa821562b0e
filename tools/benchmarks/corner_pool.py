"""Times corner pooling on a CPU: ours, mmcv's, and a plain copy of the tensor.

    python tools/benchmarks/corner_pool.py [--quick] [--threads 1 2] [--channels-last]

Prints one markdown table. Each time is the best of several runs, in milliseconds; the columns of a
row take turns, so that other load on the machine hits them alike. Memory is what the peak of one
forward and backward pass adds to the resident size, input and output gradient not counted, measured
in a fresh process for each cell (Linux only).
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mmext.ops import corner_pool

SIZES = [(2, 64, 100, 152), (1, 128, 128, 128)]
MODES = ("top", "bottom", "left", "right")
COLUMNS = ("ours", "mmcv", "copy")
Size = tuple[int, int, int, int]


def forward_of(name: str, mode: str) -> Callable[[Tensor], Tensor]:
    """Return the call of one of the columns of the table."""
    if name == "ours":
        return lambda x: corner_pool(x, mode)
    if name == "copy":
        return Tensor.clone
    from mmcv.ops import CornerPool

    return CornerPool(mode)


def make_input(size: Size, channels_last: bool) -> Tensor:
    """Draw a feature map that requires gradients."""
    torch.manual_seed(0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.randn(size).to(memory_format=layout).requires_grad_()


def run_pass(function: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor | None) -> None:
    """Run forward and, if there is a gradient, backward."""
    if grad is None:
        with torch.no_grad():
            function(x)
    else:
        torch.autograd.grad(function(x), x, grad)


def best_times(
    functions: dict[str, Callable[[Tensor], Tensor]], x: Tensor, grad: Tensor | None, runs: int
) -> dict[str, float]:
    """Return the shortest of several runs of each function, in milliseconds."""
    best = dict.fromkeys(functions, float("inf"))
    for function in functions.values():
        run_pass(function, x, grad)
    for _ in range(runs):
        for name, function in functions.items():
            begin = time.perf_counter()
            run_pass(function, x, grad)
            best[name] = min(best[name], 1e3 * (time.perf_counter() - begin))
    return best


def resident_mib(field: str) -> float:
    """Return the resident size of this process, VmRSS now or VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def measure_memory(cell: dict) -> float:
    """Return by how many MiB the peak of one training step lies above what was there before."""
    torch.set_num_threads(1)
    function = forward_of(cell["name"], cell["mode"])
    x = make_input(tuple(cell["size"]), cell["channels_last"])
    grad = torch.ones_like(x)
    # A small step first, so that libraries are loaded.
    run_pass(function, x[:, :1, :8, :8], grad[:, :1, :8, :8])
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = resident_mib("VmRSS")
    run_pass(function, x, grad)
    return resident_mib("VmHWM") - before


def memory_of(cell: dict) -> float:
    """Measure one cell's memory in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--cell", json.dumps(cell)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring {cell} failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def table_row(size: Size, mode: str, threads: int, channels_last: bool, runs: int) -> str:
    """Measure and format one line of the table."""
    torch.set_num_threads(threads)
    x = make_input(size, channels_last)
    functions = {name: forward_of(name, mode) for name in COLUMNS}
    # The larger passes come first: malloc keeps what they free, and the kernel need not clear pages
    # anew in each run of the others.
    both = best_times(
        {name: functions[name] for name in ("ours", "mmcv")}, x, torch.ones_like(x), runs
    )
    forward = best_times(functions, x, None, runs)
    cells = ["x".join(map(str, size)), mode, str(threads)]
    cells += [f"{forward[name]:.2f}" for name in COLUMNS]
    cells += [f"{both[name]:.2f}" for name in ("ours", "mmcv")]
    cells += [f"{forward['mmcv'] / forward['ours']:.1f}", f"{both['mmcv'] / both['ours']:.1f}"]
    cells += [f"{forward['ours'] / forward['copy']:.2f}"]
    for name in ("ours", "mmcv"):
        cell = dict(name=name, mode=mode, size=size, channels_last=channels_last)
        cells.append(f"{memory_of(cell):.0f}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table, or the memory of one cell of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the first size")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--channels-last", action="store_true", help="x in channels-last memory")
    parser.add_argument("--runs", type=int, default=20, help="runs for the best of a cell")
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        print(measure_memory(args.cell))
        return
    heads = ["size", "mode", "threads", *(f"{name} fwd" for name in COLUMNS)]
    heads += ["ours fwd+bwd", "mmcv fwd+bwd", "mmcv / ours fwd", "mmcv / ours fwd+bwd"]
    heads += ["ours / copy fwd", "ours MiB", "mmcv MiB"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for threads in args.threads:
        for size in SIZES[:1] if args.quick else SIZES:
            for mode in MODES:
                print(table_row(size, mode, threads, args.channels_last, args.runs), flush=True)


if __name__ == "__main__":
    main()
