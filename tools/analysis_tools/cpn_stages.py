"""What the stages of CPN are worth: test a trained one after each of them.

    python tools/analysis_tools/cpn_stages.py CONFIG CHECKPOINT

prints three rows for every set that the config tests on: all pairs of corners with the scores of
the corners, which is a one-stage corner detector; those that the binary classifier lets through,
with the same scores; and these with fused scores, which is CPN. Beside AP and AR stand

- proposals per image, and how many of them are false: IoU below 0.5 with every object,
- the share of the false ones among all pairs that is gone by then,
- the share of objects that a proposal still covers, with an IoU of 0.5 or more.

CPN itself drops nothing after its second classifier; for these counts a proposal has to have a
class probability of ``test_cfg.grouping_thr``, the threshold of the first one. One view is tested.
"""

import argparse
import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from center_check import evaluators
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.registry import RUNNERS
from pycocotools.coco import COCO
from torch import Tensor

from mmext.detection.cpn import CPN, CPNHead
from mmext.detection.cpn.decode import best_pairs, fuse_scores, to_pixels
from mmext.detection.cpn.proposals import Proposals, propose
from mmext.detection.keypoints.corner_decode import CornerPairs
from mmext.engine.cli import add_common_arguments, load_config
from mmext.files import replacing

STAGES = ("pairs of corners", "binary stage", "multi-class stage")
FIGURES = {"bbox_mAP": "AP", "bbox_mAP_50": "AP50", "bbox_AR@100": "AR100", "AF": "AF"}
COUNTS = ("proposals", "false", "false removed", "objects covered")
COLUMNS = ("set", "after", *FIGURES.values(), *COUNTS)
Maps = Sequence[Tensor]


class Stage(NamedTuple):
    """What is left after a stage.

    Attributes:
        proposals (Proposals): Of the batch, to be detections.
        scores (Tensor): (N,) their scores.
        counted (Proposals): What counts as left.
    """

    proposals: Proposals
    scores: Tensor
    counted: Proposals


@dataclass
class Count:
    """Proposals of a set after a stage.

    Attributes:
        images (int): Images.
        proposals (int): Proposals.
        false (int): Those that have an IoU below 0.5 with every object.
        objects (int): Objects.
        covered (int): Those with which a proposal has an IoU of 0.5 or more.
    """

    images: int = 0
    proposals: int = 0
    false: int = 0
    objects: int = 0
    covered: int = 0

    def add(self, boxes: Tensor, objects: Tensor) -> None:
        """Count an image.

        Args:
            boxes (Tensor): (N, 4) proposals x1, y1, x2, y2 in pixels.
            objects (Tensor): (G, 4) objects.
        """
        hit = bbox_overlaps(boxes, objects) >= 0.5
        self.images += 1
        self.proposals += len(boxes)
        self.false += len(boxes) - int(hit.any(1).sum())
        self.objects += len(objects)
        self.covered += int(hit.any(0).sum())


def run_stages(head: CPNHead, maps: Maps) -> list[Stage]:
    """Run the stages on a batch.

    Args:
        head (CPNHead): Head with its ``test_cfg``.
        maps (Sequence[Tensor]): Six maps of the last stack.

    Returns:
        list[Stage]: One per entry of ``STAGES``.
    """
    tl_heat, br_heat, _, _, grouping_map, region_map = maps
    cfg = head.test_cfg
    pairs = propose(tl_heat, br_heat, num_peaks=cfg["num_peaks"], kernel=cfg["kernel"])
    kept, below = head.group(pairs, grouping_map, cfg["grouping_thr"])
    prob = head.class_prob(kept, region_map)
    return [
        Stage(pairs, pairs.scores, pairs),
        Stage(kept, kept.scores, kept.take(~below)),
        Stage(
            kept,
            fuse_scores(kept.scores, prob) - below.to(prob),
            kept.take(~below & (prob >= cfg["grouping_thr"])),
        ),
    ]


def in_pixels(
    proposals: Proposals, scores: Tensor, maps: Maps, metas: Sequence[Mapping], num_pairs: int
) -> list[CornerPairs]:
    """Return the best proposals of each image in pixels of the original one."""
    pairs = best_pairs(proposals, scores, *maps[2:4], num_pairs=num_pairs)
    return to_pixels(pairs, metas, maps[0].shape[-2:], rescale=True)


def read_objects(metrics: Sequence[Mapping]) -> dict[str, dict[int, Tensor]]:
    """Read the objects of each set.

    Args:
        metrics (Sequence[dict]): Metrics with ``ann_file`` and ``prefix``.

    Returns:
        dict[str, dict[int, Tensor]]: For each set and image id the boxes (G, 4) x1, y1, x2, y2 in
        pixels, crowds left out.
    """
    sets: dict[str, dict[int, Tensor]] = {}
    for name, path in {metric["prefix"]: metric["ann_file"] for metric in metrics}.items():
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(path)
        sets[name] = {}
        for image in coco.getImgIds():
            found = coco.loadAnns(coco.getAnnIds(image, iscrowd=False))
            boxes = torch.tensor([a["bbox"] for a in found], dtype=torch.float32).view(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            sets[name][image] = boxes
    return sets


def add_counts(
    counts: Mapping[tuple[str, str], Count],
    stage: str,
    found: Sequence[CornerPairs],
    metas: Sequence[Mapping],
    objects: Mapping[str, Mapping[int, Tensor]],
) -> None:
    """Count what is left of a batch.

    Args:
        counts (dict[tuple[str, str], Count]): For each set and stage; changed in place.
        stage (str): One of ``STAGES``.
        found (Sequence[CornerPairs]): Per image, in pixels.
        metas (Sequence[dict]): ``img_id`` of each.
        objects (dict[str, dict[int, Tensor]]): From :func:`read_objects`.
    """
    for pairs, meta in zip(found, metas, strict=True):
        inside = pairs.boxes[pairs.scores > 0].cpu()
        for name, images in objects.items():
            if meta["img_id"] in images:
                counts[name, stage].add(inside, images[meta["img_id"]])


@torch.no_grad()
def stage_rows(cfg: Config) -> list[dict]:
    """Test the model of a config after each stage.

    Args:
        cfg (Config): With ``load_from`` and metrics as from ``center_check.evaluators``.

    Returns:
        list[dict]: Rows of the table, set after set.

    Raises:
        ValueError: The model is no CPN.
    """
    runner = RUNNERS.build(cfg)
    model = runner.model
    if not isinstance(model, CPN):
        raise ValueError(f"model.type={cfg.model.type!r} has no such stages. Expected 'mmext.CPN'.")
    runner.load_or_resume()
    head = model.eval().bbox_head
    loader = runner.test_loop.dataloader
    metrics = {stage: runner.build_evaluator(cfg.test_evaluator) for stage in STAGES}
    objects = read_objects(cfg.test_evaluator)
    counts = {(name, stage): Count() for name in objects for stage in STAGES}
    for metric in metrics.values():
        metric.dataset_meta = loader.dataset.metainfo
    for data in loader:
        batch = model.data_preprocessor(data, False)
        samples = batch["data_samples"]
        metas = [sample.metainfo for sample in samples]
        maps = [stacks[-1] for stacks in head(model.extract_feat(batch["inputs"]))]
        for stage, left in zip(STAGES, run_stages(head, maps), strict=True):
            best = in_pixels(left.proposals, left.scores, maps, metas, head.test_cfg["num_pairs"])
            for sample, pairs in zip(samples, best, strict=True):
                sample.pred_instances = head.detect([pairs], [False], head.test_cfg)
            metrics[stage].process(samples, data)
            scores = left.counted.scores
            every = in_pixels(left.counted, scores, maps, metas, len(scores))
            add_counts(counts, stage, every, metas, objects)
    figures = {stage: metric.evaluate(len(loader.dataset)) for stage, metric in metrics.items()}
    return [row_of(name, stage, figures[stage], counts) for name in objects for stage in STAGES]


def row_of(
    name: str, stage: str, figures: Mapping[str, float], counts: Mapping[tuple[str, str], Count]
) -> dict:
    """Return the row of a set after a stage.

    Args:
        name (str): The set.
        stage (str): One of ``STAGES``.
        figures (dict[str, float]): ``set/figure`` to value after the stage.
        counts (dict[tuple[str, str], Count]): For each set and stage.
    """
    count, first = counts[name, stage], counts[name, STAGES[0]]
    row: dict = {"set": name, "after": stage}
    row |= {label: figures[f"{name}/{key}"] for key, label in FIGURES.items()}
    row["proposals"] = count.proposals / max(count.images, 1)
    row["false"] = count.false / max(count.images, 1)
    row["false removed"] = 1 - count.false / max(first.false, 1)
    row["objects covered"] = count.covered / max(count.objects, 1)
    return row


def markdown_table(rows: Sequence[Mapping]) -> str:
    """Format the rows as markdown; figures that are NaN stay empty."""
    lines = [list(COLUMNS), ["---"] * len(COLUMNS)]
    for row in rows:
        figures = [row[key] for key in FIGURES.values()]
        cells = [row["set"], row["after"], *(f"{x:.3f}" if x == x else "" for x in figures)]
        cells += [f"{row[key]:.1f}" for key in COUNTS[:2]]
        lines.append([*cells, *(f"{row[key]:.1%}" for key in COUNTS[2:])])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main() -> None:
    """Test and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_common_arguments(parser)
    parser.add_argument("checkpoint", help="checkpoint file")
    args = parser.parse_args()
    cfg = load_config(args)
    cfg.load_from = args.checkpoint
    cfg.test_evaluator = evaluators(cfg)
    rows = stage_rows(cfg)
    print(markdown_table(rows))
    out = Path(cfg.work_dir) / "cpn_stages.csv"
    with replacing(out) as part, part.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    print(f"written to {out}")


if __name__ == "__main__":
    main()
