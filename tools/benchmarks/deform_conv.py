"""Times deformable convolutions on a CPU: ours, mmcv's, a grid_sample rewrite, a plain convolution.

    python tools/benchmarks/deform_conv.py [--quick] [--threads 1 2] [--channels-last]

Prints one markdown table. Each cell is the best of several runs, in milliseconds (mmcv's slow cells
get fewer runs). Memory is the growth of the peak resident size over one forward and backward pass,
measured in a fresh process for each cell. The rewrite is what a user can write today without a
compiled op: offsets as a sampling grid for ``grid_sample``, then a 1x1 convolution.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from mmext.ops import deform_conv2d

SIZES = [(2, 256, 40, 40), (8, 64, 32, 32), (1, 256, 100, 152), (4, 128, 32, 32), (2, 64, 80, 80)]
COLUMNS = ("ours", "mmcv", "rewrite", "plain")
Size = tuple[int, int, int, int]


def grid_sample_rewrite(
    x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None
) -> Tensor:
    """Compute a 3x3 deformable convolution, stride 1 and padding 1, with ``grid_sample``."""
    n, c, h, w = x.shape
    offset = offset.reshape(n, 9, 2, h, w)
    taps = torch.arange(-1, 2, dtype=x.dtype)
    row = offset[:, :, 0] + torch.arange(h)[:, None] + taps.repeat_interleave(3)[:, None, None]
    col = offset[:, :, 1] + torch.arange(w) + taps.repeat(3)[:, None, None]
    grid = torch.stack(((2 * col + 1) / w - 1, (2 * row + 1) / h - 1), -1)
    columns = functional.grid_sample(x, grid.reshape(n, 9 * h, w, 2), align_corners=False)
    columns = columns.reshape(n, c, 9, h, w)
    if mask is not None:
        columns = columns * mask[:, None]
    return functional.conv2d(columns.flatten(1, 2), weight.reshape(len(weight), -1, 1, 1), bias)


def mmcv_op(x: Tensor, offset: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """Call mmcv's compiled op; its v1 takes no bias."""
    from mmcv.ops import deform_conv2d as mmcv_v1
    from mmcv.ops import modulated_deform_conv2d as mmcv_v2

    if mask is None:
        return mmcv_v1(x, offset, weight, 1, 1) + bias[:, None, None]
    return mmcv_v2(x, offset, mask, weight, bias, 1, 1)


def forward_of(name: str, tensors: dict[str, Tensor]) -> Callable[[], Tensor]:
    """Return the forward call of one of the columns of the table."""
    x, offset, weight, bias = (tensors[key] for key in ("x", "offset", "weight", "bias"))
    mask = tensors.get("mask")
    return {
        "ours": partial(deform_conv2d, x, offset, weight, bias, mask, padding=1),
        "mmcv": partial(mmcv_op, x, offset, weight, bias, mask),
        "rewrite": partial(grid_sample_rewrite, x, offset, weight, bias, mask),
        "plain": partial(functional.conv2d, x, weight, bias, padding=1),
    }[name]


def make_tensors(size: Size, v2: bool, channels_last: bool) -> dict[str, Tensor]:
    """Draw the inputs of a 3x3 convolution with as many output as input channels."""
    torch.manual_seed(0)
    n, c, h, w = size
    layout = torch.channels_last if channels_last else torch.contiguous_format
    tensors = {
        "x": torch.randn(size).to(memory_format=layout),
        "offset": torch.randn(n, 18, h, w),
        "weight": torch.randn(c, c, 3, 3) / (3 * c**0.5),
        "bias": torch.randn(c),
    }
    if v2:
        tensors["mask"] = torch.rand(n, 9, h, w)
    return {name: value.requires_grad_() for name, value in tensors.items()}


def best_time(call: Callable[[], object], runs: int) -> float:
    """Return the shortest of several runs in seconds; a slow call gets fewer runs."""
    call()
    times, start = [], time.perf_counter()
    while len(times) < runs and (len(times) < 2 or time.perf_counter() - start < 3):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def measure_times(name: str, size: Size, v2: bool, channels_last: bool, runs: int) -> dict:
    """Time forward and forward + backward, in milliseconds."""
    tensors = make_tensors(size, v2, channels_last)
    forward = forward_of(name, tensors)
    grad = torch.ones_like(forward())

    def both() -> None:
        used = [value for value in tensors.values() if value.requires_grad]
        torch.autograd.grad(forward(), used, grad, allow_unused=True)

    def forward_only() -> None:
        with torch.no_grad():
            forward()

    return {
        "forward": 1e3 * best_time(forward_only, runs),
        "both": 1e3 * best_time(both, runs),
    }


def measure_memory(name: str, size: Size, v2: bool, channels_last: bool) -> float:
    """Return by how many MiB one training step raises this process's peak memory."""
    # A small step first, so that libraries and thread pools are loaded.
    for step in ((1, 16, 8, 8), size):
        tensors = make_tensors(step, v2, channels_last)
        grad = torch.ones(step)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        forward_of(name, tensors)().backward(grad)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def run_cell(cell: dict) -> dict:
    """Measure one cell in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--cell", json.dumps(cell)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring {cell} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def answer_cell(cell: dict) -> None:
    """Measure what another process asked for and print it as JSON."""
    torch.set_num_threads(cell["threads"])
    size, layout = tuple(cell["size"]), cell["channels_last"]
    memory = measure_memory(cell["name"], size, cell["v2"], layout)
    times = measure_times(cell["name"], size, cell["v2"], layout, cell["runs"])
    print(json.dumps({"memory": memory, **times}))


def table_row(size: Size, v2: bool, threads: int, results: dict[str, dict]) -> str:
    """Format one line of the table."""
    ours = results["ours"]
    cells = ["x".join(map(str, size)), "v2" if v2 else "v1", str(threads)]
    cells += [f"{results[name]['forward']:.1f}" for name in COLUMNS]
    cells += [f"{results[name]['both']:.1f}" for name in COLUMNS]
    cells += [f"{results['mmcv']['both'] / ours['both']:.0f}"]
    cells += [f"{results['rewrite']['both'] / ours['both']:.1f}"]
    cells += [f"{ours['both'] / results['plain']['both']:.2f}"]
    cells += [f"{results[name]['memory']:.0f}" for name in COLUMNS]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table, or one cell of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the second size, v2")
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--channels-last", action="store_true", help="x in channels-last memory")
    parser.add_argument("--runs", type=int, default=20, help="runs for the best of a cell")
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        answer_cell(args.cell)
        return
    heads = ["size", "op", "threads"]
    heads += [f"{name} fwd" for name in COLUMNS] + [f"{name} fwd+bwd" for name in COLUMNS]
    heads += ["mmcv / ours", "rewrite / ours", "ours / plain"]
    heads += [f"{name} MiB" for name in COLUMNS]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for threads in args.threads:
        for size in SIZES[1:2] if args.quick else SIZES:
            for v2 in (True,) if args.quick else (True, False):
                common = dict(size=size, v2=v2, threads=threads, runs=args.runs)
                cells = [
                    dict(name=name, channels_last=args.channels_last, **common) for name in COLUMNS
                ]
                results = {cell["name"]: run_cell(cell) for cell in cells}
                print(table_row(size, v2, threads, results), flush=True)


if __name__ == "__main__":
    main()
