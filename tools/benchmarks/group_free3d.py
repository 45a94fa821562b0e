"""Times a training step and a prediction of the full-size Group-Free-3D and HyperDet3D on a CPU.

    python tools/benchmarks/group_free3d.py [--scenes 1] [--points 50000] [--threads 1]

Prints a markdown table: 6 layers, 256 candidates, ScanNet's form, on random scenes with boxes. Each
row is a process of its own, whose largest memory is given; "plain torch" has the references of the
ops in place of the compiled ones. Times are medians of the processor's time in seconds, divided by
the number of threads, so other programs do not count.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmext.detection3d.group_free3d import point_net2
from mmext.detection3d.structures import Boxes3D, Det3DSample
from mmext.ops import point_neighbors, point_sampling, points_in_boxes
from mmext.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ROWS = {
    "Group-Free-3D": ("group_free3d/group-free3d_l6-o256_scannet.py", False),
    "HyperDet3D": ("hyperdet3d/hyperdet3d_scannet.py", False),
    "Group-Free-3D, plain torch": ("group_free3d/group-free3d_l6-o256_scannet.py", True),
}
OBJECTS = 12
ROOM = (8.0, 6.0, 2.5)


def scenes(count: int, num_points: int) -> tuple[Tensor, list[Det3DSample]]:
    """Return rooms with boxes: half of the points within them, the others on floor and walls."""
    points, samples = [], []
    room = torch.tensor(ROOM)
    for _ in range(count):
        size = 0.4 + 1.2 * torch.rand(OBJECTS, 3)
        center = size / 2 + torch.rand(OBJECTS, 3) * (room - size)
        boxes = torch.cat((center, size, torch.zeros(OBJECTS, 1)), 1)
        inside = torch.randint(OBJECTS, (num_points // 2,))
        within = center[inside] + (torch.rand(len(inside), 3) - 0.5) * size[inside]
        around = torch.rand(num_points - len(inside), 3) * room
        wall = torch.randint(3, (len(around),))
        around[torch.arange(len(around)), wall] = 0
        cloud = torch.cat((within, around))[torch.randperm(num_points)]
        hit = points_in_boxes(cloud, boxes)
        sample = Det3DSample()
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=Boxes3D(boxes), labels_3d=torch.randint(18, (OBJECTS,))
        )
        sample.gt_point_instances = torch.where(hit.any(1), hit.int().argmax(1), -1)
        points.append(cloud)
        samples.append(sample)
    return torch.stack(points), samples


def use_references() -> None:
    """Let the detector run on plain torch functions."""
    point_net2.furthest_point_sample = lambda points, number, *, skip_origin: (
        point_sampling.furthest_point_sample_reference(points, number, 0, skip_origin)
    )
    point_net2.ball_query = point_neighbors.ball_query_reference
    point_net2.three_nn = point_neighbors.three_nn_reference


def build(config: str) -> nn.Module:
    """Build the model of a config with random weights."""
    cfg = Config.fromfile(CONFIGS / config)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
        model.init_weights()
    return model


def measure(row: str, args: argparse.Namespace) -> dict[str, float]:
    """Return the figures of a row."""
    config, plain = ROWS[row]
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if plain:
        use_references()
    model = build(config)
    points, samples = scenes(args.scenes, args.points)

    def step() -> None:
        model.train()
        model.zero_grad()
        model.parse_losses(model(points, samples, mode="loss"))[0].backward()

    def predict() -> None:
        model.eval()(points, samples, mode="predict")

    def seconds(function: object) -> float:
        function()
        times = []
        for _ in range(args.repeats):
            begin = time.process_time()
            function()
            times.append((time.process_time() - begin) / args.threads)
        return statistics.median(times)

    predicting = seconds(predict)
    predicting_memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    stepping = seconds(step)
    return dict(
        parameters=sum(p.numel() for p in model.parameters()) / 1e6,
        predict=predicting,
        predict_memory=predicting_memory,
        step=stepping,
        step_memory=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=1, help="scenes in a batch")
    parser.add_argument("--points", type=int, default=50000, help="points of a scene")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--row", choices=ROWS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    args = parse_args()
    if args.row is not None:
        print(json.dumps(measure(args.row, args)))
        return
    options = [f"--{name}={getattr(args, name)}" for name in ("scenes", "points", "threads")]
    options.append(f"--repeats={args.repeats}")
    print("| model | parameters, M | predict, s | memory, MB | training step, s | memory, MB |")
    print("|---|---|---|---|---|---|")
    for row in args.rows:
        command = [sys.executable, __file__, *options, f"--row={row}"]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = json.loads(out.splitlines()[-1])
        print(
            f"| {row} | {found['parameters']:.2f} | {found['predict']:.2f} | "
            f"{found['predict_memory']:.0f} | {found['step']:.2f} | {found['step_memory']:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
