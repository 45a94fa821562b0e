"""Times CPN's stages behind the network, and CPN beside mmdet's CornerNet and CentripetalNet.

    python tools/benchmarks/cpn.py [--backbone hourglass52] [--size 511 767] [--threads 1]

Prints two markdown tables. The first has the stages behind the network for an image and its mirror:
ours beside the method's description written down pair by pair (``literal_cpn.py``), from the same
maps. The second has a whole prediction, without the mirror, of models with the same backbone; what
is behind the network gets maps that see objects, since an untrained network finds nothing. Figures
are medians of the processor's time in milliseconds, divided by the number of threads.
"""

import argparse
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from literal_cpn import (
    Settings,
    boost_flips,
    fuse,
    group,
    pair_up,
    regions,
    suppress,
    to_pixels,
)
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmext.detection.cpn import decode
from mmext.detection.cpn.proposals import propose, to_rois
from mmext.detection.keypoints.soft_nms import suppress as soft_suppress
from mmext.engine import import_host

CONFIGS = Path(__file__).resolve().parents[2] / "configs/cpn"
BACKBONES = ("hourglass52", "dla34")
PEERS = {
    "CornerNet": "mmdet::cornernet/cornernet_hourglass104_8xb6-210e-mstest_coco.py",
    "CentripetalNet": (
        "mmdet::centripetalnet/centripetalnet_hourglass104_16xb6-crop511-210e-mstest_coco.py"
    ),
}
STAGES = ("pairs", "RoIAlign + grouping", "RoIAlign + region", "fusion + flip", "soft-NMS")
NUM_CLASSES = 80
# Classes that an image has objects of, and places around each corner that fire as well.
PRESENT, ECHOES = 10, 3
# Logits of a corner, of its echoes and of cells without one.
CORNER, ECHO, BACKGROUND = 1.0, -1.5, -7.0
# Share of pairs that the binary classifier lets through, and spread of its logits.
SHARE, SPREAD = 0.25, 1.5


class Objects(NamedTuple):
    """Objects of one view: (N, 4) boxes x1, y1, x2, y2 in cells and (N,) classes."""

    boxes: Tensor
    labels: Tensor


def random_objects(count: int, shape: Sequence[int]) -> Objects:
    """Draw objects of a few classes, of sides from 4 cells to half the map."""
    limit = torch.tensor([shape[1], shape[0]]).float() - 1
    size = 4 * (limit / 8) ** torch.rand(count, 2)
    corner = torch.rand(count, 2) * (limit - size)
    labels = torch.randint(PRESENT, (count,)) * (NUM_CLASSES // PRESENT)
    return Objects(torch.cat((corner, corner + size), 1), labels)


def mirrored(objects: Objects, width: int) -> Objects:
    """Return objects as the mirrored view has them."""
    x1, y1, x2, y2 = objects.boxes.unbind(1)
    return objects._replace(boxes=torch.stack((width - 1 - x2, y1, width - 1 - x1, y2), 1))


def corner_maps(objects: Objects, points: Tensor, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Make the heat map (1, C, H, W) and the offsets (1, 2, H, W) of one corner (N, 2)."""
    height, width = shape
    heat = BACKGROUND + 0.6 * torch.randn(1, NUM_CLASSES, height, width)
    offset = torch.rand(1, 2, height, width)
    limit = torch.tensor([width - 1, height - 1])
    for echo in range(ECHOES + 1):
        place = points + 3 * torch.randn_like(points) * (echo > 0)
        cell = place.floor().long().clamp(min=torch.tensor(0)).minimum(limit)
        level = ECHO if echo else CORNER
        heat[0, objects.labels, cell[:, 1], cell[:, 0]] = level + 0.8 * torch.randn(len(cell))
        if not echo:
            offset[0, :, cell[:, 1], cell[:, 0]] = (points - cell).T
    return heat, offset


def crafted_maps(head: nn.Module, views: Sequence[Objects], shape: Sequence[int]) -> list[Tensor]:
    """Make the six maps of CPN's last stack, and let its classifiers say something.

    Args:
        head (nn.Module): CPNHead; the last layers of its classifiers are scaled and shifted, so
            that a share of the proposals passes.
        views (Sequence[Objects]): Objects of each view.
        shape (Sequence[int]): Height and width in cells.
    """
    corners = [[corner_maps(v, v.boxes[:, s], shape) for s in _SIDES] for v in views]
    tl_heat, br_heat, tl_offset, br_offset = (
        torch.cat([view[side][kind] for view in corners]) for kind in (0, 1) for side in (0, 1)
    )
    channels = (head.groupings[-1].reduce.in_channels, head.in_channels)
    maps = [torch.randn(len(views), width, *shape).relu() for width in channels]
    proposals = propose(tl_heat, br_heat)
    rois = to_rois(proposals.images, proposals.boxes, plus_one=True)
    for branch, features in zip((head.groupings[-1], head.regions[-1]), maps, strict=True):
        logits = branch.classify(features, rois)
        gain = SPREAD / logits.std().item()
        branch.out.weight.mul_(gain)
        logits = gain * (logits - branch.out.bias)
        threshold = torch.tensor(Settings().grouping_thr).logit()
        branch.out.bias.fill_(threshold - logits.flatten().quantile(1 - SHARE))
    return [tl_heat, br_heat, tl_offset, br_offset, *maps]


_SIDES = (slice(0, 2), slice(2, 4))


class Laps:
    """The processor's time between calls.

    Args:
        threads (int): By how many to divide it.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.last = time.process_time()

    def lap(self) -> float:
        """Return the milliseconds since the last call."""
        now = time.process_time()
        passed, self.last = now - self.last, now
        return 1e3 * passed / self.threads


def staged(
    head: nn.Module, maps: Sequence[Tensor], metas: Sequence[dict], threads: int = 1
) -> tuple[InstanceData, list[float]]:
    """Detect with the package's functions, as ``CPNHead.decode`` and ``detect`` call them.

    Args:
        head (nn.Module): CPNHead.
        maps (Sequence[Tensor]): Six maps of the last stack, (2, ...): an image and its mirror.
        metas (Sequence[dict]): Of both.
        threads (int): Threads of the processor.

    Returns:
        tuple[InstanceData, list[float]]: Detections, and the milliseconds of each of ``STAGES``.
    """
    tl_heat, br_heat, *offsets, grouping_map, region_map = maps
    cfg, laps = head.test_cfg, Laps(threads)
    proposals = propose(tl_heat, br_heat, num_peaks=cfg["num_peaks"], kernel=cfg["kernel"])
    times = [laps.lap()]
    kept, below = head.group(proposals, grouping_map, cfg["grouping_thr"])
    times.append(laps.lap())
    prob = head.class_prob(kept, region_map)
    times.append(laps.lap())
    scores = decode.fuse_scores(kept.scores, prob) - below.float()
    pairs = decode.best_pairs(kept, scores, *offsets, num_pairs=cfg["num_pairs"])
    views = decode.to_pixels(pairs, metas, tl_heat.shape[-2:], rescale=True)
    pooled = decode.merge_views(views, [False, True], flip_consistency=cfg["flip_consistency"])
    times.append(laps.lap())
    found = soft_suppress(
        pooled.boxes,
        pooled.scores,
        pooled.labels,
        pooled.corner_scores,
        max_num=cfg["max_per_img"],
        **cfg["nms"],
    )
    times.append(laps.lap())
    return InstanceData(bboxes=found.boxes, scores=found.scores, labels=found.labels), times


def literal(
    head: nn.Module, maps: Sequence[Tensor], meta: dict, threads: int = 1
) -> tuple[tuple, list[float]]:
    """Detect as :func:`staged` does, step by step.

    Args:
        head (nn.Module): CPNHead, whose classifiers are used.
        maps (Sequence[Tensor]): Six maps of the last stack, (2, ...): an image and its mirror.
        meta (dict): Of the image.
        threads (int): Threads of the processor.

    Returns:
        tuple[tuple, list[float]]: Boxes, scores and classes, and the milliseconds of each stage.
    """
    tl_heat, br_heat, tl_offset, br_offset, grouping_map, region_map = maps
    settings, laps = Settings(), Laps(threads)
    proposals = pair_up(tl_heat, br_heat, settings)
    times = [laps.lap()]
    branch = head.groupings[-1]
    kept, passed = group(proposals, lambda rois: branch.classify(grouping_map, rois), settings)
    times.append(laps.lap())
    probs = head.regions[-1].classify(region_map, regions(kept)).sigmoid()
    times.append(laps.lap())
    kept = fuse(kept, passed, probs, (tl_offset, br_offset), settings)
    kept = to_pixels(kept, meta, tuple(tl_heat.shape[-2:]))
    boost_flips(kept, settings)
    times.append(laps.lap())
    found = suppress(kept, settings)
    times.append(laps.lap())
    return found, times


def image_metas(shape: Sequence[int]) -> tuple[dict, dict]:
    """Describe an image of a border of 4 px that was enlarged by 1.25, and its mirror."""
    height, width = 4 * shape[0], 4 * shape[1]
    meta = dict(
        img_shape=(height, width),
        batch_input_shape=(height, width),
        border=(4, height - 4, 4, width - 4),
        scale_factor=(1.25, 1.25),
    )
    return meta, dict(meta, flip=True, flip_direction="horizontal")


def build(config: ConfigDict) -> nn.Module:
    """Build a detector with random weights, for tests."""
    from mmdet.registry import MODELS

    torch.manual_seed(0)
    model = MODELS.build(config)
    model.init_weights()
    return model.eval()


def cpn_config(backbone: str) -> ConfigDict:
    """Return CPN's model with random weights, its backbone one of ``BACKBONES``."""
    model = Config.fromfile(CONFIGS / f"cpn_{backbone}_coco.py").model
    model.backbone.init_cfg = None
    return model


def peer_config(name: str, backbone: str) -> ConfigDict:
    """Return a model of ``PEERS`` with CPN's backbone and neck."""
    ours, model = cpn_config(backbone), get_config(PEERS[name]).model
    model.backbone, model.neck = ours.backbone, ours.get("neck")
    model.bbox_head.update(num_feat_levels=1, in_channels=ours.bbox_head.in_channels)
    return model


def peer_maps(name: str, objects: Objects, shape: Sequence[int]) -> list[list[Tensor]]:
    """Make the outputs of a head of ``PEERS`` for one image."""
    corners = [corner_maps(objects, objects.boxes[:, side], shape) for side in _SIDES]
    outputs = [[heat] for heat, _ in corners]
    extras: list[list[Tensor]] = []
    half = (objects.boxes[:, 2:] - objects.boxes[:, :2]) / 2
    for side in _SIDES:
        cell = objects.boxes[:, side].long()
        values = torch.randn(1, 1 if name == "CornerNet" else 2, *shape)
        if name == "CornerNet":  # embeddings: the number of the object
            values[0, 0, cell[:, 1], cell[:, 0]] = torch.arange(len(cell)).float()
        else:  # logarithm of the way to the centre
            values[0, :, cell[:, 1], cell[:, 0]] = half.log().T
        extras.append([values])
    offsets = [[offset] for _, offset in corners]
    if name == "CornerNet":
        return [*outputs, *extras, *offsets]
    return [*outputs, *offsets, *extras, *extras]  # guiding shifts are not read


def median_stages(runs: Sequence[Sequence[float]]) -> list[float]:
    """Return the median of each stage over runs, the first of which warms up."""
    return [statistics.median(times) for times in zip(*runs[1:], strict=True)]


@torch.no_grad()
def compare_stages(args: argparse.Namespace) -> tuple[dict[str, list[float]], str]:
    """Return the median of each stage, ours and literal, and what there was to do."""
    head = build(cpn_config(args.backbone)).bbox_head
    shape = [-(-side // 4) for side in args.size]
    objects = random_objects(args.objects, shape)
    maps = crafted_maps(head, (objects, mirrored(objects, shape[1])), shape)
    metas = image_metas(shape)
    ours, theirs = [], []
    for _ in range(args.turns + 1):
        ours.append(staged(head, maps, metas, args.threads)[1])
        theirs.append(literal(head, maps, metas[0], args.threads)[1])
    count = len(propose(*maps[:2]).images)
    note = f"{count} proposals in both views, of which the binary classifier lets {SHARE:.0%} pass"
    return {"ours": median_stages(ours), "literal": median_stages(theirs)}, note


@torch.no_grad()
def compare_models(args: argparse.Namespace) -> dict[str, list[float]]:
    """Return the median times of network and post-processing of each model."""
    shape = [-(-side // 4) for side in args.size]
    objects = random_objects(args.objects, shape)
    meta = image_metas(shape)[0]
    images = torch.randn(1, 3, *args.size)
    models: dict[str, tuple[nn.Module, Sequence[Any]]] = {}
    ours = build(cpn_config(args.backbone))
    maps = crafted_maps(ours.bbox_head, (objects,), shape)
    models["CPN"] = ours, [[m] for m in maps]
    for name in PEERS:
        models[name] = build(peer_config(name, args.backbone)), peer_maps(name, objects, shape)
    runs: dict[str, list[list[float]]] = {name: [] for name in models}
    for _ in range(args.turns + 1):
        for name, (model, outputs) in models.items():
            laps = Laps(args.threads)
            model.bbox_head(model.extract_feat(images))
            times = [laps.lap()]
            model.bbox_head.predict_by_feat(*outputs, batch_img_metas=[meta], rescale=True)
            runs[name].append([*times, laps.lap()])
    return {name: median_stages(times) for name, times in runs.items()}


def table(rows: Sequence[Sequence[str]]) -> str:
    """Format rows, the first of which is the header, as markdown."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def stages_table(results: dict[str, list[float]]) -> str:
    """Format the first table."""
    rows = [["stage", "ours", "literal", "times ours"]]
    ours, theirs = results["ours"], results["literal"]
    lines = [*zip(STAGES, ours, theirs, strict=True), ("all", sum(ours), sum(theirs))]
    for stage, one, other in lines:
        rows.append([stage, f"{one:.1f}", f"{other:.1f}", f"{other / one:.1f}"])
    return table(rows)


def models_table(results: dict[str, list[float]]) -> str:
    """Format the second table."""
    rows = [["model", "network", "post-processing", "prediction"]]
    rows += [
        [name, *(f"{value:.1f}" for value in (*times, sum(times)))]
        for name, times in results.items()
    ]
    return table(rows)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=BACKBONES, default="hourglass52")
    parser.add_argument("--size", type=int, nargs=2, default=[511, 767], metavar=("H", "W"))
    parser.add_argument("--objects", type=int, default=25, help="objects per image")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-post", action="store_true", help="only the first table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    import_host("mmdet")
    MMLogger.get_instance("benchmark", log_level="WARNING")
    DefaultScope.get_instance("benchmark", scope_name="mmdet")
    results, note = compare_stages(args)
    print(f"{stages_table(results)}\n\n{note}", flush=True)
    if not args.only_post:
        print(f"\n{models_table(compare_models(args))}")


if __name__ == "__main__":
    main()
