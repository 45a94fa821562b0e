"""Speed of active learning: k-centre greedy against loops, describing the pool against inference.

Usage: ``python tools/benchmarks/active_learning.py [--images 20000] [--features 1024]
[--choose 100] [--labeled 100] [--runs 3]``, on one thread. The first table compares the choice of
the core-set with :mod:`literal_k_center`; both have to choose the same images. The second has the
images per second of each acquisition's ``describe`` beside those of ``test_step`` alone of the same
detector: a RetinaNet on 256 px images, with MI-AOD's head where its discrepancy is asked for, and
with the module that predicts its loss for that.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from literal_k_center import literal_k_center
from measuring import best_times
from mmdet.models import RetinaHead
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmext.active_learning.acquisitions.k_center import core_set
from mmext.active_learning.scoring import describe_batch
from mmext.engine import import_host
from mmext.registry import ACQUISITIONS

CONFIG = "configs/active_learning/retinanet_efflite0_trees_random.py"
# Detector to the acquisitions that ask it.
ACQUISITION_NAMES = {
    "RetinaNet": ("Entropy", "LeastConfidence", "Margin", "CoreSet", "CDAL", "PPAL"),
    "RetinaNet with MI-AOD's head": ("MIAODDiscrepancy",),
    "RetinaNet with predicted loss": ("LearningLoss",),
}
BATCH = 4


def compare_k_center(images: int, features: int, labeled: int, choose: int) -> list[str]:
    """Time both ways once, since the loops take long, and compare what they choose.

    Returns:
        Lines of a table.

    Raises:
        ValueError: They choose different images.
    """
    generator = np.random.default_rng(0)
    points = generator.standard_normal((images + labeled, features), dtype=np.float32)
    pool, centers = points[:images], points[images:]
    begin = time.process_time()
    ours = core_set(torch.from_numpy(pool), torch.from_numpy(centers), choose)
    middle = time.process_time()
    theirs = literal_k_center(pool, centers, choose)
    end = time.process_time()
    if ours != theirs:
        raise ValueError("core_set and the loops choose different images")
    fast, slow = middle - begin, end - middle
    size = f"{images} x {features}, {labeled} labelled, {choose} chosen"
    return [
        f"| k-centre greedy, {size} | seconds |",
        "|---|---|",
        f"| loops over centres | {slow:.1f} |",
        f"| mmext | {fast:.2f} ({slow / fast:.1f} times as fast) |",
    ]


def compare_scoring(runs: int) -> list[str]:
    """Time describing a batch against predicting it.

    Returns:
        Lines of a table.
    """
    images = torch.randint(0, 256, (BATCH, 3, 256, 256), dtype=torch.uint8)
    meta = dict(img_shape=(256, 256), ori_shape=(256, 256), scale_factor=(1.0, 1.0))
    batch = dict(
        inputs=list(images), data_samples=[DetDataSample(metainfo=meta) for _ in range(BATCH)]
    )
    lines = ["| describing the pool | images/s | of plain inference |", "|---|---|---|"]
    for detector, names in ACQUISITION_NAMES.items():
        model = build(names)
        _let_it_find(model, batch)
        calls = {"test_step": lambda model=model: model.test_step(batch)}
        for name in names:
            acquisition = ACQUISITIONS.build(dict(type=f"mmext.{name}"))
            calls[name] = lambda acquisition=acquisition, model=model: describe_batch(
                acquisition, model, batch
            )
        with torch.no_grad():
            times = best_times(calls, runs)
        plain = times.pop("test_step")
        lines.append(f"| {detector}: test_step | {BATCH / plain:.1f} | 1 |")
        for name, seconds in times.items():
            lines.append(f"| {name} | {BATCH / seconds:.1f} | {plain / seconds:.2f} |")
    return lines


def build(names: Sequence[str]) -> torch.nn.Module:
    """Return the detector that some acquisitions ask."""
    cfg = Config.fromfile(Path(__file__).resolve().parents[2] / CONFIG)
    import_host(cfg.default_scope)
    torch.manual_seed(0)
    if "MIAODDiscrepancy" in names:
        cfg.model.bbox_head.type = "mmext.MIAODRetinaHead"
    if "LearningLoss" in names:
        levels = [cfg.model.neck.out_channels] * cfg.model.neck.num_outs
        cfg.model = dict(type="mmext.LearningLossDetector", detector=cfg.model, in_channels=levels)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model).eval()


def _let_it_find(model: torch.nn.Module, batch: dict) -> None:
    """Set the classifier's bias so that as many boxes are found as a trained model finds."""
    head = next(part for part in model.modules() if isinstance(part, RetinaHead))
    with torch.no_grad():
        for classifier in (head.retina_cls, getattr(head, "f_2_retina_cls", None)):
            if classifier is not None:
                classifier.bias.fill_(-2.5)
                classifier.weight.mul_(20)
        found = [len(sample.pred_instances) for sample in model.test_step(batch)]
    print(f"detections per image: {found}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Speed of active learning")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--features", type=int, default=1024)
    parser.add_argument("--labeled", type=int, default=100)
    parser.add_argument("--choose", type=int, default=100)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    tables = [compare_k_center(args.images, args.features, args.labeled, args.choose)]
    tables.append(compare_scoring(args.runs))
    print("\n\n".join("\n".join(lines) for lines in tables))


if __name__ == "__main__":
    main()
