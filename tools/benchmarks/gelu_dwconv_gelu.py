"""Times GELU, depth-wise convolution and GELU on a CPU: one kernel and three calls of torch.

    python tools/benchmarks/gelu_dwconv_gelu.py [--quick] [--threads 1 2]

Prints one markdown table of the sizes that Uformer-S has on an image of 128 x 128. Each time is the
best of several runs, in milliseconds; the two take turns, so that other load on the machine hits
them alike. With one thread it is the time that the process had on a core, with more it is wall
time. Torch's convolution gets maps in channels-last memory, as it likes them best.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from mmext.ops import gelu_dwconv_gelu
from mmext.ops.gelu_dwconv_gelu import gelu_dwconv_gelu_reference

SIZES = [(1, 128, 128, 128), (1, 128, 128, 256), (1, 32, 32, 1024), (1, 8, 8, 2048)]
FUNCTIONS = {"ours": gelu_dwconv_gelu, "torch": gelu_dwconv_gelu_reference}


def forward(function: Callable[..., Tensor], tensors: list[Tensor]) -> None:
    """Run the forward pass alone."""
    with torch.inference_mode():
        function(*tensors)


def both_passes(function: Callable[..., Tensor], tensors: list[Tensor]) -> None:
    """Run forward and backward pass."""
    torch.autograd.grad(function(*tensors), tensors, tensors[0].detach())


def best_times(
    run: Callable[..., None], tensors: list[Tensor], runs: int, threads: int
) -> dict[str, float]:
    """Return the shortest of several runs of each function, in milliseconds."""
    clock = time.process_time if threads == 1 else time.perf_counter
    best = dict.fromkeys(FUNCTIONS, float("inf"))
    for _ in range(runs + 1):  # the first fills caches
        for name, function in FUNCTIONS.items():
            begin = clock()
            run(function, tensors)
            best[name] = min(best[name], 1e3 * (clock() - begin))
    return best


def table_row(size: tuple[int, ...], threads: int, runs: int) -> str:
    """Measure and format one line of the table."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    channels = size[-1]
    sizes = (size, (channels, 1, 3, 3), (channels,))
    tensors = [torch.randn(size, requires_grad=True) for size in sizes]
    cells = ["x".join(map(str, size)), str(threads)]
    for run in (forward, both_passes):
        best = best_times(run, tensors, runs, threads)
        cells += [f"{best[name]:.2f}" for name in FUNCTIONS]
        cells += [f"{best['torch'] / best['ours']:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the first size")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=10, help="runs for the best of a cell")
    args = parser.parse_args()
    heads = ["size", "threads", "forward ours", "torch", "torch / ours"]
    heads += ["both passes ours", "torch", "torch / ours"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for threads in args.threads:
        for size in SIZES[:1] if args.quick else SIZES:
            print(table_row(size, threads, args.runs), flush=True)


if __name__ == "__main__":
    main()
