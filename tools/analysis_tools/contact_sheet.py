"""Draw the test images of a config with hits, false alarms and missed boxes, as one picture.

Usage: ``python tools/analysis_tools/contact_sheet.py CONFIG RESULTS --out sheet.png``, where
RESULTS is the file of ``tools/test.py CONFIG CHECKPOINT --out results.pkl``. Every COCO metric of
the config's ``test_evaluator`` becomes a block of images under its figures; so do the rotated boxes
of a ``DOTADataset``. ``--images 16`` draws that many, evenly spaced; the figures are of all.
"""

import argparse
import contextlib
import io
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib

from mmext.files import replacing

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mmengine
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.patches import Patch, Polygon
from mmcv.ops import box_iou_rotated
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config, ConfigDict
from mmrotate.structures.bbox import qbox2rbox
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmext.leaderboards.rotated_ap import average_precision
from mmext.rotated.evaluation import join_detections, read_ground_truth, to_corners

FOUND, FALSE, MISSED = "#ffe14d", "#ff4b3e", "#3fd9ff"


@dataclass
class Picture:
    """An image with its boxes and detections.

    Attributes:
        path: Image file.
        truth: (G, 4) boxes x1, y1, x2, y2 or (G, 5) rboxes x, y, w, h, angle, in pixels, radians.
        boxes: (N, 4) or (N, 5) detections, best score first.
        scores: (N,) their scores.
        owner: (N,) the box that each detection hits, -1 for none.
    """

    path: str
    truth: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    owner: np.ndarray


@dataclass
class Block:
    """The pictures of one annotation file, with their figures."""

    name: str
    ap: float
    ap50: float
    pictures: list[Picture]


def match(
    truth: np.ndarray, truth_labels: np.ndarray, boxes: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Match detections to boxes as COCO does at IoU 0.5: best score first, each box once.

    Args:
        truth: (G, 4) boxes x1, y1, x2, y2 or (G, 5) rboxes.
        truth_labels: (G,) their classes.
        boxes: (N, 4) or (N, 5) detections, best score first.
        labels: (N,) their classes.

    Returns:
        (N,) indices of the boxes that the detections hit, -1 for none.
    """
    owner = np.full(len(boxes), -1)
    if len(truth) == 0 or len(boxes) == 0:
        return owner
    overlap = box_iou_rotated if truth.shape[1] == 5 else bbox_overlaps
    overlaps = overlap(torch.from_numpy(boxes).float(), torch.from_numpy(truth).float()).numpy()
    overlaps[labels[:, None] != truth_labels[None]] = 0
    for i, row in enumerate(overlaps):
        if row.max() >= 0.5:
            owner[i] = row.argmax()
            overlaps[:, owner[i]] = 0
    return owner


def read_block(name: str, coco: COCO, category_ids: list[int], results: list[dict]) -> Block:
    """Pair the results with the boxes of an annotation file, in the file's order.

    Args:
        name: What to call the block.
        coco: The annotation file.
        category_ids: COCO category of each class.
        results: What ``tools/test.py --out`` wrote, possibly with images of other files.

    Raises:
        KeyError: The results lack an image of the file.
    """
    by_id = {result["img_id"]: result for result in results}
    pictures, detections = [], []
    for image_id in coco.getImgIds():
        if image_id not in by_id:
            raise KeyError(f"the results lack image {image_id}: they belong to another config")
        boxes, labels, scores = sorted_detections(by_id[image_id])
        truth = np.array([a["bbox"] for a in coco.imgToAnns[image_id]], float).reshape(-1, 4)
        truth[:, 2:] += truth[:, :2]
        classes = [category_ids.index(a["category_id"]) for a in coco.imgToAnns[image_id]]
        owner = match(truth, np.array(classes), boxes, labels)
        pictures.append(Picture(by_id[image_id]["img_path"], truth, boxes, scores, owner))
        detections += [
            [image_id, *box[:2], *(box[2:] - box[:2]), score, category_ids[label]]
            for box, score, label in zip(boxes, scores, labels, strict=True)
        ]
    return Block(name, *coco_scores(coco, np.array(detections)), pictures)


def sorted_detections(result: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes, labels and scores of one image's result, best score first."""
    found = result["pred_instances"]
    order = found["scores"].argsort(descending=True)
    boxes, labels, scores = (found[key][order].numpy() for key in ("bboxes", "labels", "scores"))
    return boxes, labels, scores


def read_rotated_block(name: str, dataset: ConfigDict, results: list[dict]) -> Block:
    """Pair the results with the objects of DOTA txt files, by the images' names.

    Difficult objects, and the detections that hit one, are left out.

    Args:
        name: What to call the block.
        dataset: Config of the data set, a ``DOTADataset``.
        results: What ``tools/test.py --out`` wrote.

    Raises:
        FileNotFoundError: The results hold an image without label file: another config's.
    """
    results = sorted(results, key=lambda result: result["img_id"])
    folder = Path(dataset.get("data_root", "")) / dataset.ann_file
    names = [result["img_id"] for result in results]
    classes = dataset.metainfo.classes
    truth = read_ground_truth(folder, classes, names)
    rboxes = qbox2rbox(torch.from_numpy(truth.corners.reshape(-1, 8)).float()).numpy()
    pictures, found = [], []
    for index, result in enumerate(results):
        boxes, labels, scores = sorted_detections(result)
        found.append((to_corners(boxes), scores, labels))
        here = truth.image == index
        owner = match(rboxes[here], truth.label[here], boxes, labels)
        difficult = truth.difficult[here]
        kept = (owner < 0) | ~np.append(difficult, False)[owner]
        place = np.append(np.cumsum(~difficult) - 1, -1)  # of each object among the others
        pictures.append(
            Picture(
                result["img_path"],
                rboxes[here][~difficult],
                boxes[kept],
                scores[kept],
                place[owner[kept]],
            )
        )
    detections = join_detections(names, *zip(*found, strict=True))
    ap = average_precision(detections, truth, classes, eval_mode="area").mean_ap()
    return Block(name, float(ap.mean()), float(ap[0]), pictures)


def coco_scores(coco: COCO, detections: np.ndarray) -> tuple[float, float]:
    """Return AP and AP50 of (N, 7) detections: image, x, y, width, height, score, category."""
    if len(detections) == 0:
        return 0.0, 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1])


def best_threshold(pictures: list[Picture]) -> float:
    """Return the score above which detections have the best F1 at IoU 0.5 over the pictures."""
    scores = np.concatenate([picture.scores for picture in pictures])
    if len(scores) == 0:
        return 0.0
    order = np.argsort(-scores)
    true = np.concatenate([picture.owner >= 0 for picture in pictures])[order].cumsum()
    boxes = sum(len(picture.truth) for picture in pictures)
    f1 = 2 * true / (np.arange(1, len(order) + 1) + boxes)
    return float(scores[order][f1.argmax()])


def draw_picture(axes: Axes, picture: Picture, threshold: float) -> np.ndarray:
    """Draw one picture; return the numbers of found, false and missed boxes."""
    shown = picture.scores >= threshold
    owner = picture.owner[shown]
    missed = np.setdiff1d(np.arange(len(picture.truth)), owner)
    groups = (
        (picture.truth[missed], dict(edgecolor=MISSED, linestyle=(0, (2, 1.2)))),
        (picture.boxes[shown][owner < 0], dict(edgecolor=FALSE)),
        (picture.boxes[shown][owner >= 0], dict(edgecolor=FOUND)),
    )
    image = cv2.imread(picture.path)[..., ::-1]
    axes.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))  # pixels begin at their edge
    axes.autoscale(False)
    for boxes, style in groups:
        for corners in to_corners(boxes) if len(boxes) else ():
            axes.add_patch(Polygon(corners, fill=False, linewidth=1.2, **style))
    return np.array([(owner >= 0).sum(), (owner < 0).sum(), len(missed)])


def chosen(pictures: list[Picture], count: int | None) -> list[Picture]:
    """Return ``count`` of the pictures, evenly spaced, or all."""
    if count is None or count >= len(pictures):
        return pictures
    return [pictures[i] for i in np.linspace(0, len(pictures) - 1, count).round().astype(int)]


def draw_block(figure: SubFigure, block: Block, shown: list[Picture]) -> None:
    """Draw some pictures of an annotation file in a square-ish grid under the file's figures."""
    rows = math.ceil(math.sqrt(len(shown)))
    columns = math.ceil(len(shown) / rows)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    figure.subplots_adjust(0.01, 0.045, 0.99, 0.93, wspace=0.02, hspace=0.02)
    threshold = best_threshold(block.pictures)
    counts = np.zeros(3, int)
    for panel in axes:
        panel.set_axis_off()
    for panel, picture in zip(axes, shown, strict=False):
        counts += draw_picture(panel, picture, threshold)
    figure.suptitle(f"{block.name}: AP50 {block.ap50:.3f}, AP {block.ap:.3f}", y=0.99, fontsize=13)
    found, false, missed = counts
    figure.text(
        0.5,
        0.94,
        f"score ≥ {threshold:.2f} (best F1): {found} found, {false} false, {missed} missed",
        ha="center",
        fontsize=9,
    )


def draw_sheet(blocks: list[Block], out: Path, images: int | None) -> None:
    """Draw up to ``images`` pictures of each block, blocks side by side, and write the sheet."""
    shown = [chosen(block.pictures, images) for block in blocks]
    sides = [math.ceil(math.sqrt(len(pictures))) for pictures in shown]
    widths = [
        math.ceil(len(pictures) / rows) / rows for pictures, rows in zip(shown, sides, strict=True)
    ]
    figure = plt.figure(figsize=(8 * sum(widths), 8.7))
    parts = figure.add_gridspec(1, len(blocks), wspace=0, width_ratios=widths)
    for part, block, pictures in zip(parts, blocks, shown, strict=True):
        draw_block(figure.add_subfigure(part), block, pictures)
    legend = dict(found=FOUND, false=FALSE, missed=MISSED)
    handles = [
        Patch(facecolor="none", edgecolor=colour, linewidth=2, label=name)
        for name, colour in legend.items()
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, frameon=False, fontsize=11)
    with replacing(out) as part_file:
        figure.savefig(part_file, dpi=90)


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("results", type=Path, help="pickle of tools/test.py --out")
    parser.add_argument("--out", type=Path, required=True, help="png or jpg to write")
    parser.add_argument("--images", type=int, help="how many to draw of each block; all by default")
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    results = mmengine.load(args.results)
    metrics = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    blocks = []
    for metric in metrics:
        if cfg.get("default_scope") == "mmrotate":
            blocks.append(read_rotated_block("test", cfg.test_dataloader.dataset, results))
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(metric["ann_file"])
        classes = cfg.test_dataloader.dataset.metainfo.classes
        category_ids = [coco.getCatIds(catNms=[name])[0] for name in classes]
        blocks.append(read_block(metric.get("prefix", "test"), coco, category_ids, results))
    draw_sheet(blocks, args.out, args.images)
    print(f"contact sheet: {args.out}")


if __name__ == "__main__":
    main()
