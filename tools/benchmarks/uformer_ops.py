"""Times the two ops of Uformer's blocks on a CPU: one kernel each, and torch's own functions.

    python tools/benchmarks/uformer_ops.py [--quick] [--threads 1 2]

Prints one markdown table of sizes that Uformer-S has on an image of 128 x 128: maps for
``gelu_dwconv_gelu``, windows x tokens x channels for ``biased_attention``, whose heads have 32
channels. Torch's functions are GELU, a depth-wise convolution of channels-last maps and GELU, and
``scaled_dot_product_attention``. Each time is the best of several runs, in milliseconds; the two
take turns, so that other load on the machine hits them alike. With one thread it is the time that
the process had on a core, with more it is wall time.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mmext.ops import biased_attention, gelu_dwconv_gelu
from mmext.ops.biased_attention import biased_attention_reference
from mmext.ops.gelu_dwconv_gelu import gelu_dwconv_gelu_reference

MAPS = [(1, 128, 128, 128), (1, 128, 128, 256), (1, 32, 32, 1024), (1, 8, 8, 2048)]
WINDOWS = [(256, 64, 32), (256, 64, 64), (64, 64, 128), (4, 64, 512)]
DEPTH = 32
Functions = dict[str, Callable[[], Tensor]]


def make_feed_forward(size: Sequence[int]) -> tuple[list[Tensor], Functions]:
    """Return maps, weights and bias, and the functions that take them."""
    channels = size[-1]
    tensors = [
        torch.randn(size, requires_grad=True) for size in (size, (channels, 1, 3, 3), (channels,))
    ]
    return tensors, {
        "ours": lambda: gelu_dwconv_gelu(*tensors),
        "torch": lambda: gelu_dwconv_gelu_reference(*tensors),
    }


def make_attention(size: Sequence[int]) -> tuple[list[Tensor], Functions]:
    """Return queries, keys and values side by side and a bias, and the functions that take them."""
    windows, tokens, channels = size
    heads = channels // DEPTH
    tensors = [
        torch.randn(size, requires_grad=True)
        for size in ((windows, tokens, 3 * channels), (heads, tokens, tokens))
    ]
    qkv, bias = tensors
    return tensors, {
        "ours": lambda: biased_attention(*qkv.chunk(3, -1), bias, heads),
        "torch": lambda: biased_attention_reference(*qkv.chunk(3, -1), bias, heads),
    }


CASES = {
    "gelu_dwconv_gelu": (make_feed_forward, MAPS),
    "biased_attention": (make_attention, WINDOWS),
}


def forward(function: Callable[[], Tensor], tensors: list[Tensor]) -> None:
    """Run the forward pass alone."""
    with torch.inference_mode():
        function()


def both_passes(function: Callable[[], Tensor], tensors: list[Tensor]) -> None:
    """Run forward and backward pass."""
    out = function()
    torch.autograd.grad(out, tensors, out.detach())


def best_times(
    run: Callable[..., None], functions: Functions, tensors: list[Tensor], runs: int
) -> dict[str, float]:
    """Return the shortest of several runs of each function, in milliseconds."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(runs + 1):  # the first fills caches
        for name, function in functions.items():
            begin = clock()
            run(function, tensors)
            best[name] = min(best[name], 1e3 * (clock() - begin))
    return best


def table_row(op: str, size: Sequence[int], runs: int) -> str:
    """Measure and format one line of the table."""
    torch.manual_seed(0)
    tensors, functions = CASES[op][0](size)
    cells = [op, "x".join(map(str, size)), str(torch.get_num_threads())]
    for run in (forward, both_passes):
        best = best_times(run, functions, tensors, runs)
        cells += [f"{best[name]:.2f}" for name in functions]
        cells += [f"{best['torch'] / best['ours']:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only the first size of each op")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=10, help="runs for the best of a cell")
    args = parser.parse_args()
    heads = ["op", "size", "threads", "forward ours", "torch", "torch / ours"]
    heads += ["both passes ours", "torch", "torch / ours"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for threads in args.threads:
        torch.set_num_threads(threads)
        for op, (_, sizes) in CASES.items():
            for size in sizes[:1] if args.quick else sizes:
                print(table_row(op, size, args.runs), flush=True)


if __name__ == "__main__":
    main()
