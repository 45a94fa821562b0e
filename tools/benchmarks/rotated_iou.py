"""Times the rotated IoU of pairs on a CPU: ours, mmcv's, and ours in plain torch.

    python tools/benchmarks/rotated_iou.py [--quick] [--threads 1 2] [--runs 10]

Prints one markdown table. Pairs are what a detector in training has: predictions that are off by a
part of the target's size, sides of 8 to 200 px. Each time is the best of several runs, in
milliseconds; the columns of a row take turns, so that other load on the machine hits them alike.
mmcv's ``box_iou_rotated`` has no gradient, and its differentiable ``diff_iou_rotated_2d`` does not
run on a CPU; what a user could train with instead is plain torch. The last column is the loss with
500 rows that count. The largest errors are those of float32 against float64.
"""

import argparse
import time
from collections.abc import Callable

import torch
from mmcv.ops import box_iou_rotated
from torch import Tensor

from mmext.ops import rotated_iou
from mmext.ops.rotated_iou import rotated_iou_reference
from mmext.rotated import rotated_iou_loss

POSITIVES = 500


def make_pairs(count: int) -> tuple[Tensor, Tensor]:
    """Draw (count, 5) predictions, which require gradients, and targets."""
    make = torch.Generator().manual_seed(0)
    target = torch.rand(count, 5, generator=make)
    target[:, :2] *= 1024
    target[:, 2:4] = 8 * 25 ** target[:, 2:4]
    target[:, 4] = (target[:, 4] - 0.5) * torch.pi
    noise = torch.randn(count, 5, generator=make) / 3
    pred = target.clone()
    pred[:, :2] += target[:, 2:4] * noise[:, :2]
    pred[:, 2:4] *= noise[:, 2:4].exp()
    pred[:, 4] += noise[:, 4]
    return pred.requires_grad_(), target


def best_times(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Return the shortest of several runs of each call, in milliseconds."""
    best = dict.fromkeys(calls, float("inf"))
    for run in range(runs + 1):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if run > 0:  # the first one warms up
                best[name] = min(best[name], 1e3 * (time.perf_counter() - begin))
    return best


def table_row(count: int, threads: int, runs: int) -> str:
    """Measure and format one line of the table."""
    torch.set_num_threads(threads)
    pred, target = make_pairs(count)
    boxes, grad = pred.detach(), torch.ones(count)
    weight = torch.zeros(count)
    weight[torch.linspace(0, count - 1, min(count, POSITIVES)).long()] = 1

    def step(function: Callable[..., Tensor]) -> Callable[[], object]:
        return lambda: torch.autograd.grad(function(pred, target), pred, grad)

    def loss_step() -> object:
        loss = rotated_iou_loss(pred, target, weight, avg_factor=POSITIVES)
        return torch.autograd.grad(loss, pred)

    times = best_times(
        {
            "ours fwd": lambda: rotated_iou(boxes, target),
            "mmcv fwd": lambda: box_iou_rotated(boxes, target, aligned=True),
            "ours fwd+bwd": step(rotated_iou),
            "torch fwd+bwd": step(rotated_iou_reference),
            "loss, 500 positive": loss_step,
        },
        runs,
    )
    cells = [str(count), str(threads), *(f"{value:.2f}" for value in times.values())]
    cells.append(f"{times['mmcv fwd'] / times['ours fwd']:.0f}")
    cells.append(f"{times['torch fwd+bwd'] / times['ours fwd+bwd']:.0f}")
    return "| " + " | ".join(cells) + " |"


def largest_errors(count: int = 20000) -> str:
    """Compare float32 results with float64 ones."""
    pred, target = (boxes.detach() for boxes in make_pairs(count))
    truth = rotated_iou(pred.double(), target.double())
    ours = (rotated_iou(pred, target) - truth).abs().max()
    theirs = (box_iou_rotated(pred, target, aligned=True) - truth).abs().max()
    return f"largest errors of {count} IoUs in float32: ours {ours:.1e}, mmcv {theirs:.1e}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only 1000 and 20,000 pairs")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=10, help="runs for the best of a cell")
    args = parser.parse_args()
    heads = ["pairs", "threads", "ours fwd", "mmcv fwd", "ours fwd+bwd", "torch fwd+bwd"]
    heads += ["loss, 500 positive", "mmcv / ours", "torch / ours"]
    print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads), flush=True)
    for threads in args.threads:
        for count in (1000, 20000) if args.quick else (1000, 20000, 196000):
            print(table_row(count, threads, args.runs), flush=True)
    print(largest_errors())


if __name__ == "__main__":
    main()
