"""What a detector finds by chance: the score that a trained one has to beat."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def chance_detections(annotation_file: Path, seed: int = 0) -> list[dict]:
    """Return the detections of someone who knows the boxes' number and sizes, not their places.

    Every true box is moved to a random place of its tile and given a random score. Evaluated with
    COCO's metric this is the chance score: what a trained model has to beat.

    Args:
        annotation_file: COCO json of a split.
        seed: Seed of the places and scores.

    Returns:
        COCO detection results, one per annotation.
    """
    rng = np.random.default_rng(seed)
    coco = json.loads(Path(annotation_file).read_text())
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    results = []
    for annotation in coco["annotations"]:
        width, height = annotation["bbox"][2:]
        free = np.array(sizes[annotation["image_id"]]) - [width, height]
        left, top = (rng.random(2) * free).tolist()
        results.append(
            dict(
                image_id=annotation["image_id"],
                category_id=annotation["category_id"],
                bbox=[left, top, width, height],
                score=rng.random(),
            )
        )
    return results


def chance_ap50(annotation_file: Path) -> float:
    """Return the AP50 of :func:`chance_detections`, in [0, 1].

    Args:
        annotation_file: COCO json of a split.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotation_file))
        found = truth.loadRes(chance_detections(annotation_file))
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1])
