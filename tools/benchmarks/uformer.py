"""Times Uformer on a CPU: ours and a literal port of the official code, in one run.

    python tools/benchmarks/uformer.py [--quick] [--threads 1 2] [--archs T S B]

Prints two markdown tables. Each time is the best of several runs, in seconds; the two take turns,
so that other load on the machine hits them alike. With one thread it is the time that the process
had on a core, with more it is wall time. A training step is forward, mean of squares and backward.
Memory is what the peak of a first training step adds to the resident size, gradients of the
parameters included, measured in a fresh process (Linux only). The second table restores an image of
1280 x 720: ours as it is, the port in the middle of a black square of 1280.

    python tools/benchmarks/uformer.py --photo T

prints instead what restoring photos of several sizes in tiles of 512 pixels adds to the resident
size, beside the photo and its result. ``tiny`` is the network of ``uformer-tiny_photos-*.py``.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from literal_uformer import LiteralUformer, on_square_canvas
from torch import Tensor, nn

from mmext.restoration.tiling import tiled_forward
from mmext.restoration.uformer import Uformer

NAMES = ("ours", "literal")
TINY = dict(embed_dim=16, depths=(1,) * 9)
TILE = 512
PHOTOS = ((750, 1000), (1500, 2000), (3000, 4000))


def build(name: str, arch: str) -> nn.Module:
    """Build one of the two networks."""
    torch.manual_seed(0)
    return Uformer(arch=arch) if name == "ours" else LiteralUformer(arch)


def forward(network: nn.Module, image: Tensor) -> Callable[[], None]:
    """Return a forward pass, on a black square where the network needs one."""

    def call() -> None:
        with torch.inference_mode():
            if isinstance(network, LiteralUformer):
                on_square_canvas(network.eval(), image)
            else:
                network.eval()(image)

    return call


def training_step(network: nn.Module, image: Tensor) -> Callable[[], None]:
    """Return a training step."""

    def call() -> None:
        network.train().zero_grad()
        network(image).square().mean().backward()

    return call


def best_times(calls: dict[str, Callable[[], None]], runs: int) -> dict[str, float]:
    """Return the shortest of several runs of each, in seconds."""
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
    """Return the resident size of this process, VmRSS now or VmHWM at its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def forget_peak() -> float:
    """Let the peak of this process count from here; return its resident size in MiB."""
    ctypes.CDLL(None).malloc_trim(0)  # what is free could be used again unseen
    Path("/proc/self/clear_refs").write_text("5")
    return resident_mib("VmRSS")


def measure_photo(cell: dict) -> float:
    """Return how many MiB tiled inference needs beside the image and its result."""
    options = TINY if cell["arch"] == "tiny" else dict(arch=cell["arch"])
    network, image = Uformer(**options).eval(), torch.rand(1, 3, *cell["photo"])
    with torch.inference_mode():
        network(torch.rand(1, 3, 64, 64))  # libraries are loaded
        before = forget_peak()
        result = tiled_forward(network, image, TILE)
    return resident_mib("VmHWM") - before - result.nbytes / 2**20


def measure_memory(cell: dict) -> float:
    """Return by how many MiB a training step, or a photo in tiles, raises this process's peak."""
    torch.set_num_threads(1)
    if "photo" in cell:
        return measure_photo(cell)
    # A small step first, so that libraries are loaded.
    training_step(build(cell["name"], "T"), torch.rand(1, 3, 128, 128))()
    network = build(cell["name"], cell["arch"])
    image = torch.rand(cell["batch"], 3, cell["size"], cell["size"])
    before = forget_peak()
    training_step(network, image)()
    return resident_mib("VmHWM") - before


def memory_of(cell: dict) -> float:
    """Measure one cell's memory in a fresh process."""
    command = [sys.executable, str(Path(__file__).resolve()), "--cell", json.dumps(cell)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring {cell} failed:\n{done.stderr}")
    return float(done.stdout.splitlines()[-1])


def square_row(arch: str, size: int, args: argparse.Namespace, threads: int) -> str:
    """Measure and format a line of the first table."""
    torch.set_num_threads(threads)
    networks = {name: build(name, arch) for name in NAMES}
    image = torch.rand(args.batch, 3, size, size)
    cells = [arch, str(size), str(args.batch), str(threads)]
    for make in (forward, training_step):
        times = best_times({n: make(net, image) for n, net in networks.items()}, args.runs)
        cells += [f"{times[name]:.3f}" for name in NAMES]
        cells += [f"{times['literal'] / times['ours']:.2f}"]
    common = dict(arch=arch, size=size, batch=args.batch)
    memory = {name: memory_of(dict(name=name, **common)) for name in NAMES}
    cells += [f"{memory[name]:.0f}" for name in NAMES]
    cells += [f"{memory['ours'] / memory['literal']:.2f}"]
    return "| " + " | ".join(cells) + " |"


def rectangle_row(arch: str, threads: int, runs: int) -> str:
    """Measure and format a line of the second table."""
    torch.set_num_threads(threads)
    image = torch.rand(1, 3, 720, 1280)
    times = best_times({name: forward(build(name, arch), image) for name in NAMES}, runs)
    cells = [arch, str(threads), *(f"{times[name]:.2f}" for name in NAMES)]
    cells += [f"{times['literal'] / times['ours']:.2f}"]
    return "| " + " | ".join(cells) + " |"


def print_photos(arch: str) -> None:
    """Measure and print the table of photos in tiles."""
    print_head("network", "photo", "photo and result, MiB", "peak beside them, MiB")
    for height, width in PHOTOS:
        peak = memory_of(dict(arch=arch, photo=(height, width)))
        own = 2 * 3 * 4 * height * width / 2**20
        print(f"| {arch} | {width} x {height} | {own:.0f} | {peak:.0f} |", flush=True)


def print_head(*heads: str) -> None:
    """Print the first two lines of a table."""
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)


def main() -> None:
    """Print the tables, or the memory of one cell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only 128 x 128, no rectangle")
    parser.add_argument(
        "--photo", choices=["tiny", "T", "S", "B"], help="memory of photos in tiles"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--archs", nargs="+", default=["T", "S", "B"], choices=["T", "S", "B", "tiny"]
    )
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5, help="runs for the best of a cell")
    parser.add_argument("--cell", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        print(measure_memory(args.cell))
        return
    if args.photo:
        print_photos(args.photo)
        return
    print_head(
        *("network", "size", "batch", "threads", "forward ours", "literal", "literal / ours"),
        *("step ours", "literal", "literal / ours", "MiB ours", "literal", "ours / literal"),
    )
    for threads in args.threads:
        for arch in args.archs:
            for size in (128,) if args.quick else (128, 256):
                print(square_row(arch, size, args, threads), flush=True)
    if not args.quick:
        print()
        print_head("network", "threads", "1280 x 720 ours", "literal", "literal / ours")
        for threads in args.threads:
            for arch in args.archs:
                print(rectangle_row(arch, threads, max(args.runs // 2, 1)), flush=True)


if __name__ == "__main__":
    main()
