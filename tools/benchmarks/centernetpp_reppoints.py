"""Times CenterNet++ beside mmdet's RepPoints, stage by stage, on a CPU.

    python tools/benchmarks/centernetpp_reppoints.py [--size 320 320] [--batch 2] [--threads 1]

Prints two markdown tables. The first has one training step and one prediction of models that share
backbone, neck, images and objects. The second has the post-processing of an image of COCO's size:
ours beside the method's description written down pair by pair (``literal_grouping.py``), from the
same raw outputs. Figures are medians of the processor's time in milliseconds, divided by the number
of threads. The models take turns, so that other load on the machine hits all of them.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from crafted_outputs import crafted_branch, crafted_outputs, level_shapes, random_objects
from literal_grouping import Settings, literal_detections, literal_quarters, pair_up
from mmengine.config import Config, ConfigDict
from mmengine.hub import get_config
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmext.detection.centernet.guided_branch import GuidedConv
from mmext.engine import import_host

CONFIGS = Path(__file__).resolve().parents[2] / "configs/centernetpp"
STRIDES = (8, 16, 32, 64, 128)
NUM_CLASSES = 80
REPPOINTS = "mmdet::reppoints/reppoints-moment_r50_fpn-gn_head-gn_1x_coco.py"
BACKBONES = {
    "lite0": (dict(type="mmext.EfficientNetLite", arch="lite0"), [40, 112, 320]),
    "r50": (dict(type="ResNet", depth=50, out_indices=(1, 2, 3)), [512, 1024, 2048]),
}
TRAIN_STAGES = ("backbone + neck", "head", "targets + losses", "backward")
TEST_STAGES = ("network", "post-processing")
# Of these one turn is enough: mmcv's kernels take most of a minute for it.
SLOW_MODELS = ("full head, mmcv's DCN",)


def model_configs(backbone: str) -> dict[str, ConfigDict]:
    """Return the models of the table, which differ in their heads only.

    Args:
        backbone (str): One of ``BACKBONES``, with random weights.
    """
    full = Config.fromfile(CONFIGS / "centernetpp_r50_fpn-gn_1x_coco.py").model
    fast = Config.fromfile(CONFIGS / "centernetpp-fast_r50_fpn-gn_4x_coco.py").model
    plain = Config(full.to_dict())
    plain.bbox_head.dcn_cfg = None
    reppoints = get_config(REPPOINTS).model
    models = {
        "RepPoints": reppoints,
        "RepPoints, our DCN": reppoints,
        "full head": full,
        "full head, plain towers": plain,
        "fast head": fast,
        "full head, mmcv's DCN": full,
    }
    network, channels = BACKBONES[backbone]
    neck = dict(full.neck.to_dict(), in_channels=channels, start_level=0)
    return {
        name: ConfigDict(dict(model.to_dict(), backbone=dict(network), neck=dict(neck)))
        for name, model in models.items()
    }


def swap_deformable(model: nn.Module, ours: bool) -> None:
    """Replace the deformable convolutions of a detector by ours, or by mmcv's, weights and all.

    Args:
        model (nn.Module): RepPoints or CenterNet++.
        ours (bool): Whether ours are to be used.
    """
    from mmcv.ops import DeformConv2d, ModulatedDeformConv2dPack

    from mmext.ops import DCNv2

    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            kind = {
                (DeformConv2d, True): GuidedConv,
                (GuidedConv, False): partial(DeformConv2d, padding=1),
                (DCNv2, False): partial(ModulatedDeformConv2dPack, padding=1),
            }.get((type(layer), ours))
            if kind is not None:
                new = kind(layer.in_channels, layer.out_channels, kernel_size=3)
                new.load_state_dict(layer.state_dict())
                setattr(parent, name, new)


def build_models(backbone: str, names: Sequence[str] | None = None) -> dict[str, nn.Module]:
    """Build models of the table, backbone and neck with the same weights.

    Args:
        backbone (str): One of ``BACKBONES``.
        names (Sequence[str] | None): Which ones, None for all.
    """
    from mmdet.registry import MODELS

    models: dict[str, nn.Module] = {}
    for name, config in model_configs(backbone).items():
        if names is not None and name not in names:
            continue
        torch.manual_seed(0)
        model = MODELS.build(config)
        model.init_weights()
        if name.endswith("DCN"):
            swap_deformable(model, ours="our" in name)
        first = next(iter(models.values()), model)
        model.backbone.load_state_dict(first.backbone.state_dict())
        model.neck.load_state_dict(first.neck.state_dict())
        models[name] = model
    return models


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


def features(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Run backbone and neck.

    EfficientNetLite makes channels-last maps, which mmcv's deformable convolution refuses.
    """
    return [level.contiguous() for level in model.extract_feat(images)]


def training_step(
    model: nn.Module, images: Tensor, objects: list[InstanceData], threads: int
) -> dict[str, float]:
    """Time the stages of one training step, in milliseconds.

    Args:
        model (nn.Module): Detector.
        images (Tensor): (B, 3, H, W).
        objects (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
        threads (int): Threads of the processor.
    """
    model.train()
    metas = image_metas(images)
    laps = Laps(threads)
    feats = features(model, images)
    times = [laps.lap()]
    outs = model.bbox_head(feats)
    times.append(laps.lap())
    losses = model.bbox_head.loss_by_feat(*outs, objects, metas)
    total, _ = model.parse_losses(losses)
    times.append(laps.lap())
    total.backward()
    times.append(laps.lap())
    model.zero_grad()
    return dict(zip(TRAIN_STAGES, times, strict=True))


@torch.no_grad()
def prediction(
    model: nn.Module, images: Tensor, objects: list[InstanceData], threads: int
) -> dict[str, float]:
    """Time the stages of one prediction, in milliseconds.

    Post-processing gets outputs that see ``objects``, since an untrained network finds nothing.

    Args:
        model (nn.Module): Detector.
        images (Tensor): (B, 3, H, W).
        objects (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
        threads (int): Threads of the processor.
    """
    model.eval()
    size = images.shape[-2:]
    batch = [trained_outputs(model, gt, size) for gt in objects]
    outs = [
        [torch.cat(level) for level in zip(*maps, strict=True)] for maps in zip(*batch, strict=True)
    ]
    metas = image_metas(images)
    laps = Laps(threads)
    model.bbox_head(features(model, images))
    times = [laps.lap()]
    model.bbox_head.predict_by_feat(*outs, batch_img_metas=metas, rescale=True)
    times.append(laps.lap())
    return dict(zip(TEST_STAGES, times, strict=True))


def image_metas(images: Tensor) -> list[dict]:
    """Describe images that fill the batch, resized by two."""
    size = tuple(images.shape[-2:])
    return [dict(img_shape=size, pad_shape=size, scale_factor=(2.0, 2.0))] * len(images)


def trained_outputs(model: nn.Module, objects: InstanceData, size: tuple[int, int]) -> tuple:
    """Return what the head would give to ``predict_by_feat`` for one image.

    Args:
        model (nn.Module): Detector.
        objects (InstanceData): ``bboxes`` and ``labels``.
        size (tuple[int, int]): Height and width of the batch.
    """
    common = (objects.bboxes, objects.labels, level_shapes(*size, STRIDES), STRIDES, NUM_CLASSES)
    torch.manual_seed(0)
    if type(model.bbox_head).__name__ == "RepPointsHead":
        logits, corners = crafted_branch(*common)
        return logits, [corner[:, [1, 0, 3, 2]] for corner in corners]
    outs = crafted_outputs(*common)
    return outs if hasattr(model.bbox_head, "keypoints") else (*outs[:6], outs[8])


def compare_models(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the median of each stage of each model, in milliseconds."""
    models = build_models(args.backbone)
    torch.manual_seed(0)
    images = torch.randn(args.batch, 3, *args.size)
    objects = [random_instances(args.objects, *args.size) for _ in range(args.batch)]
    warm_up = torch.randn(1, 3, 64, 64), [random_instances(2, 64, 64)]
    times: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    for turn in range(args.turns + 1):
        for name, model in models.items():
            if turn > 1 and name in SLOW_MODELS:
                continue
            batch = (images, objects) if turn else warm_up
            stages = training_step(model, *batch, args.threads)
            stages |= prediction(model, *batch, args.threads)
            if turn:
                times[name].append(stages)
    return {
        name: {stage: statistics.median(turn[stage] for turn in turns) for stage in turns[0]}
        for name, turns in times.items()
    }


def random_instances(count: int, height: int, width: int) -> InstanceData:
    """Draw the objects of one image."""
    bboxes, labels = random_objects(count, height, width, NUM_CLASSES)
    return InstanceData(bboxes=bboxes, labels=labels)


def compare_post_processing(args: argparse.Namespace) -> tuple[dict[str, float], str]:
    """Return the median of each way to post-process an image, and what there was to do."""
    names = ("RepPoints", "full head", "fast head")
    models = build_models("lite0", names)
    objects, size = random_instances(80, 800, 1333), (800, 1344)
    meta = dict(img_shape=(800, 1333), pad_shape=size, scale_factor=(2.0828, 2.0833))
    calls: dict[str, Callable[[], object]] = {}
    for name in names:
        outs = trained_outputs(models[name], objects, size)
        calls[name] = partial(
            models[name].bbox_head.predict_by_feat, *outs, batch_img_metas=[meta], rescale=True
        )
        if name != "RepPoints":
            settings = Settings(soft=name == "fast head")
            calls[f"{name}, literal"] = partial(
                literal_detections, outs, 0, meta, STRIDES, settings
            )
            if name == "full head":
                quarters = literal_quarters(outs, 0, meta, STRIDES, settings)
                calls["of which pairs"] = partial(pair_up, *quarters, settings)
    found = len(pair_up(*quarters, settings)[0])
    note = f"{len(quarters[0][0])} x {len(quarters[1][0])} quarter boxes, {found} pairs hold"
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(args.post_turns + 1):
        for name, call in calls.items():
            laps = Laps(args.threads)
            call()
            times[name].append(laps.lap())
    return {name: statistics.median(values[1:]) for name, values in times.items()}, note


def models_table(results: dict[str, dict[str, float]]) -> str:
    """Format the first table; ratios are to RepPoints."""
    heads = [*TRAIN_STAGES, "training step", "ratio", *TEST_STAGES, "prediction", "ratio"]
    lines = [["model", *heads], ["---"] * (len(heads) + 1)]
    for name, stages in results.items():
        cells = [name]
        for parts in (TRAIN_STAGES, TEST_STAGES):
            whole = sum(stages[part] for part in parts)
            base = sum(results["RepPoints"][part] for part in parts)
            cells += [f"{stages[part]:.0f}" for part in parts]
            cells += [f"{whole:.0f}", f"{whole / base:.2f}"]
        lines.append(cells)
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def post_processing_table(results: dict[str, float]) -> str:
    """Format the second table; ratios are to the same head's own post-processing."""
    lines = [["post-processing", "ms", "times ours"], ["---"] * 3]
    for name, value in results.items():
        ours = results["fast head" if name.startswith("fast head") else "full head"]
        lines.append([name, f"{value:.1f}", f"{value / ours:.1f}"])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", choices=BACKBONES, default="lite0")
    parser.add_argument("--size", type=int, nargs=2, default=[320, 320], metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--objects", type=int, default=8, help="objects per image")
    parser.add_argument("--turns", type=int, default=3, help="steps of each model")
    parser.add_argument("--post-turns", type=int, default=15, help="post-processed images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only-post", action="store_true", help="only the second table")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    import_host("mmdet")
    MMLogger.get_instance("benchmark", log_level="WARNING")
    DefaultScope.get_instance("benchmark", scope_name="mmdet")
    if not args.only_post:
        print(models_table(compare_models(args)), flush=True)
    results, note = compare_post_processing(args)
    print(f"\n{post_processing_table(results)}\n\n{note}")


if __name__ == "__main__":
    main()
