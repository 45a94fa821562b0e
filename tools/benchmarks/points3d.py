"""Times the ops on points and 3-D boxes beside what a user could pick instead.

    python tools/benchmarks/points3d.py [--quick] [--threads 1 2] [--runs 10]

Prints a markdown table, in milliseconds. Times are the best of several runs in which the columns
take turns, so that other load hits them alike; with one thread it is the time that the process had
on a core. What is compared has to agree first, or the script stops. Peers that are not installed
are named, with the command that installs them, and left out:

    pip install torch-quickfps fpsample scipy shapely

Clouds: a cube of 8 m full of random points, and a room with points on floor, walls and furniture,
as a depth camera sees it. mmcv has no CPU kernels for these ops; where a GPU is present its CUDA
ops are timed beside ours on the same device.
"""

import argparse
import importlib
import time
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from measuring import best_times, print_head, print_row
from torch import Tensor

from mmext.ops import (
    ball_query,
    box3d_iou,
    furthest_point_sample,
    nms3d,
    points_in_boxes,
    three_nn,
)
from mmext.ops.points_in_boxes import points_in_boxes_reference

Calls = dict[str, Callable[[], object]]


def peer(name: str, package: str) -> ModuleType | None:
    """Import a peer, or say how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"(without {package}: `pip install {package}` adds it)")
        return None


def make_cube(count: int) -> Tensor:
    """Draw (1, count, 3) points in a cube of 8 m."""
    return 8 * torch.rand(1, count, 3, generator=torch.Generator().manual_seed(0))


def make_room(count: int) -> Tensor:
    """Draw (1, count, 3) points on the floor, two walls and the sides of twelve boxes."""
    make = torch.Generator().manual_seed(0)
    points = torch.rand(count, 3, generator=make) * torch.tensor([8.0, 6.0, 2.5])
    surface = torch.randint(15, (count,), generator=make)
    for axis in range(3):
        points[surface == axis, axis] = 0
    corner = torch.rand(12, 3, generator=make) * torch.tensor([7.0, 5.0, 0.0])
    size = 0.4 + torch.rand(12, 3, generator=make)
    on_box = surface >= 3
    which = surface[on_box] - 3
    inside = torch.rand(len(which), 3, generator=make)
    side = torch.randint(3, (len(which),), generator=make)
    inside[torch.arange(len(which)), side] = inside[torch.arange(len(which)), side].round()
    points[on_box] = corner[which] + inside * size[which]
    return points[None]


def make_boxes(count: int, seed: int) -> Tensor:
    """Draw (count, 7) turned boxes of furniture size in a room of 8 m by 6 m."""
    draw = torch.rand(count, 7, generator=torch.Generator().manual_seed(seed))
    draw[:, :3] *= torch.tensor([8.0, 6.0, 1.0])
    draw[:, 3:6] = 0.3 + 1.7 * draw[:, 3:6]
    draw[:, 6] = 2 * torch.pi * draw[:, 6]
    return draw


def check(agrees: object, what: str) -> None:
    """Stop if two ways do not agree."""
    if not bool(agrees):
        raise SystemExit(f"{what} differs from ours")


def compare(what: str, calls: Calls, runs: int) -> None:
    """Print how long each call takes, and how often ours fits into it."""
    times = best_times(calls, runs)
    ours = times["ours"]
    peers = [
        f"{name} {1e3 * t:.2f} ({t / ours:.1f})" for name, t in times.items() if name != "ours"
    ]
    print_row(what, torch.get_num_threads(), f"{1e3 * ours:.2f}", "; ".join(peers))


def sampling(name: str, points: Tensor, wanted: int, runs: int) -> None:
    """Furthest point sampling."""
    index = furthest_point_sample(points, wanted)
    calls: Calls = {"ours": lambda: furthest_point_sample(points, wanted)}
    if quick := peer("torch_quickfps", "torch-quickfps"):
        check(quick.sample_idx(points, wanted, start_idx=0).eq(index).all(), "torch-quickfps")
        calls["torch-quickfps"] = lambda: quick.sample_idx(points, wanted, start_idx=0)
    if fpsample := peer("fpsample", "fpsample"):
        # It begins at another point, so its samples are as good, but others.
        array = points[0].numpy()
        calls["fpsample"] = lambda: fpsample.bucket_fps_kdline_sampling(array, wanted, h=7)
    compare(f"sample {wanted} of {points.shape[1]}, {name}", calls, runs)


def balls(name: str, points: Tensor, runs: int) -> None:
    """Ball query with 2048 centres, a radius of 0.2 m and 64 neighbours."""
    radius, count = 0.2, 64
    centres = points[:, furthest_point_sample(points, 2048)[0]]
    index = ball_query(0, radius, count, points, centres)[0]
    calls: Calls = {"ours": lambda: ball_query(0, radius, count, points, centres)}
    if spatial := peer("scipy.spatial", "scipy"):
        cloud, queries = points[0].numpy(), centres[0].numpy()

        def tree() -> object:
            search = spatial.cKDTree(cloud)
            return search.query_ball_point(queries, radius, return_sorted=True)

        for row, found in zip(index.tolist(), tree(), strict=True):
            # Distances of the tree are in float64, so points on the border may count or not.
            differ = set(found[:count]) ^ set(row)
            check(len(differ) <= 2, "scipy")
        calls["scipy tree"] = tree

    def brute_force() -> Tensor:
        near = torch.cdist(centres[0], points[0]) < radius
        places = torch.arange(points.shape[1]).expand_as(near)
        return torch.where(near, places, points.shape[1]).topk(count, -1, largest=False).values

    calls["torch cdist"] = brute_force
    compare(f"ball query, {name}", calls, runs)


def nearest(name: str, points: Tensor, runs: int) -> None:
    """The three nearest of 2048 points for each point."""
    source = points[:, furthest_point_sample(points, 2048)[0]]
    distance, _ = three_nn(points, source)
    calls: Calls = {"ours": lambda: three_nn(points, source)}
    if spatial := peer("scipy.spatial", "scipy"):
        cloud, known = points[0].numpy(), source[0].numpy()
        calls["scipy tree"] = lambda: spatial.cKDTree(known).query(cloud, 3)
        expected = torch.from_numpy(calls["scipy tree"]()[0])
        check((distance[0] - expected).abs().max() < 1e-5, "scipy")
    calls["torch cdist"] = lambda: torch.cdist(points[0], source[0]).topk(3, -1, largest=False)
    compare(f"three nearest of 2048, {name}", calls, runs)


def outline(box: np.ndarray) -> np.ndarray:
    """Return the (4, 2) corners of a box seen from above."""
    x, y, _, length, width, _, yaw = box
    along = np.array([np.cos(yaw), np.sin(yaw)]) * length / 2
    across = np.array([-np.sin(yaw), np.cos(yaw)]) * width / 2
    return np.array([x, y]) + np.array(
        [along + across, across - along, -along - across, along - across]
    )


def clipped_area(subject: np.ndarray, clip: np.ndarray) -> float:
    """Clip one convex outline at each edge of another and return the area that is left."""
    corners = list(subject)
    for i in range(4):
        start, edge = clip[i], clip[(i + 1) % 4] - clip[i]
        sides = [edge[0] * (c[1] - start[1]) - edge[1] * (c[0] - start[0]) for c in corners]
        kept = []
        for j in range(len(corners)):
            before, after = sides[j - 1], sides[j]
            if (before >= 0) != (after >= 0):
                kept.append(
                    corners[j - 1] + (corners[j] - corners[j - 1]) * before / (before - after)
                )
            if after >= 0:
                kept.append(corners[j])
        corners = kept
        if not corners:
            return 0.0
    x, y = np.array(corners).T
    return 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))


def iou_loop(a: np.ndarray, b: np.ndarray, shared_area: Callable[[int, int], float]) -> np.ndarray:
    """Compute IoUs pair by pair, as evaluations in numpy do."""
    result = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            top = min(a[i, 2] + a[i, 5] / 2, b[j, 2] + b[j, 5] / 2)
            bottom = max(a[i, 2] - a[i, 5] / 2, b[j, 2] - b[j, 5] / 2)
            shared = shared_area(i, j) * max(0.0, top - bottom)
            result[i, j] = shared / (np.prod(a[i, 3:6]) + np.prod(b[j, 3:6]) - shared)
    return result


def ious(count: int) -> None:
    """IoU of each box with each; the loops are too slow to be run more than once."""
    a, b = make_boxes(count, 0), make_boxes(count, 1)
    expected = box3d_iou(a.double(), b.double()).numpy()
    calls: Calls = {"ours": lambda: box3d_iou(a, b)}
    ours = best_times(calls, 20)["ours"]
    arrays = a.double().numpy(), b.double().numpy()
    outlines = [[outline(box) for box in boxes] for boxes in arrays]
    areas = {"numpy loop": lambda i, j: clipped_area(outlines[0][i], outlines[1][j])}
    if shapely := peer("shapely", "shapely"):
        polygons = [[shapely.Polygon(corners) for corners in side] for side in outlines]
        areas["shapely loop"] = lambda i, j: polygons[0][i].intersection(polygons[1][j]).area
    peers = []
    for name, area in areas.items():
        begin = time.process_time()
        result = iou_loop(*arrays, area)
        spent = time.process_time() - begin
        check(np.abs(result - expected).max() < 1e-9, name)
        peers.append(f"{name} {1e3 * spent:.0f} ({spent / ours:.0f})")
    print_row(
        f"IoU {count} x {count}", torch.get_num_threads(), f"{1e3 * ours:.2f}", "; ".join(peers)
    )


def boxes_and_points(points: Tensor, runs: int) -> None:
    """What an evaluation does with each scene: points in boxes, and suppression."""
    boxes = make_boxes(256, 0)
    calls: Calls = {
        "ours": lambda: points_in_boxes(points[0], boxes),
        "plain torch": lambda: points_in_boxes_reference(points[0], boxes),
    }
    check(calls["ours"]().equal(calls["plain torch"]()), "plain torch")
    compare(f"{points.shape[1]} points in 256 boxes", calls, min(runs, 5))
    scores = torch.rand(256, generator=torch.Generator().manual_seed(2))
    compare("suppression of 256 boxes", {"ours": lambda: nms3d(boxes, scores, 0.25)}, runs)


def on_gpu(points: Tensor, runs: int) -> None:
    """Ours and mmcv's on a GPU."""
    import mmcv.ops as theirs

    points = points.cuda()
    index = furthest_point_sample(points, 2048)
    centres = points[:, index[0]]

    def wait(call: Callable[[], object]) -> Callable[[], object]:
        def run() -> None:
            call()
            torch.cuda.synchronize()

        return run

    rows: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "sample 2048 of 50000": (
            lambda: furthest_point_sample(points, 2048),
            lambda: theirs.furthest_point_sample(points, 2048),
        ),
        "ball query": (
            lambda: ball_query(0, 0.2, 64, points, centres),
            lambda: theirs.ball_query(0, 0.2, 64, points, centres),
        ),
        "three nearest of 2048": (
            lambda: three_nn(points, centres),
            lambda: theirs.three_nn(points, centres),
        ),
    }
    for name, (ours, mmcv) in rows.items():
        compare(f"{name}, GPU", {"ours": wait(ours), "mmcv": wait(mmcv)}, runs)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer boxes, one thread")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=10, help="runs for the best of a cell")
    args = parser.parse_args()
    print_head("what", "threads", "ours, ms", "others, ms (times ours)")
    for threads in args.threads[:1] if args.quick else args.threads:
        torch.set_num_threads(threads)
        for name, points in (("cube", make_cube(50000)), ("room", make_room(50000))):
            sampling(name, points, 2048, args.runs)
            balls(name, points, args.runs)
            nearest(name, points, args.runs)
        boxes_and_points(make_room(50000), args.runs)
        ious(64 if args.quick else 256)
    if torch.cuda.is_available():
        on_gpu(make_cube(50000), args.runs)


if __name__ == "__main__":
    main()
