"""Write the ships data: rendered vessels at every angle over photographs, as DOTA txt.

Usage: ``python tools/dataset_converters/ships.py [--out data/ships]``; a second run returns at
once. The photographs come out of the scikit-image package:
``pip install --no-deps scikit-image==0.26.0``.

Beside each split stand AP50 / AP75 / AP85 of three sets of detections that need no model: boxes of
the right number, classes, sizes and angles at random places (chance), the horizontal boxes around
the true ones (the best that a detector without angles can do), and the true boxes after a rotated
detector's way of reading them (float32, the smallest rectangle around the corners) and suppressing
overlaps (the upper end).
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from mmrotate.structures.bbox import qbox2rbox

from mmext.embedded import ships
from mmext.leaderboards.rotated_ap import average_precision
from mmext.rotated.evaluation import (
    Detections,
    GroundTruth,
    read_ground_truth,
    suppress,
    to_corners,
)
from mmext.rotated.evaluation.quads import horizontal_boxes

IOU_THRS = (0.5, 0.75, 0.85)


def chance(truth: GroundTruth, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return corners and scores of the true boxes at random places."""
    rng = np.random.default_rng(0)
    return ships.chance_corners(truth.corners, size, rng), rng.random(len(truth))


def horizontal(truth: GroundTruth, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return corners and scores of the horizontal boxes around the true ones."""
    return to_corners(horizontal_boxes(truth.corners)), np.ones(len(truth))


def upper(truth: GroundTruth, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return corners and scores of the true boxes as a detector reads them and would keep them."""
    quads = torch.from_numpy(truth.corners.reshape(-1, 8)).float()
    corners = to_corners(qbox2rbox(quads).numpy())
    group = truth.image * len(ships.CLASSES) + truth.label
    return corners, suppress(corners, np.ones(len(truth)), group, 0.1).astype(float)


def reference_ap(truth: GroundTruth, corners: np.ndarray, scores: np.ndarray) -> list[float]:
    """Return the AP at ``IOU_THRS`` of one detection per true object; none where the score is 0."""
    found = Detections(
        images=truth.images, image=truth.image, label=truth.label, corners=corners, score=scores
    )
    result = average_precision(
        found.select(scores > 0), truth, ships.CLASSES, iou_thrs=IOU_THRS, eval_mode="area"
    )
    return result.mean_ap().tolist()


def main() -> None:
    """Prepare the data, then print where it is, its counts, reference scores and licence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/ships"), help="folder to write")
    out = parser.parse_args().out
    try:
        ships.prepare(out)
    except (OSError, ValueError) as error:
        sys.exit(f"ships: {error}")
    counts = json.loads((out / "manifest.json").read_text())["counts"]
    references = (chance, horizontal, upper)
    heads = "".join(f"{reference.__name__:>24}" for reference in references)
    print(f"{'split':<7}{'images':>8}{'objects':>9}{'difficult':>11}{heads}   (AP50 / AP75 / AP85)")
    for name, count in counts.items():
        truth = read_ground_truth(out / name / "annfiles", ships.CLASSES)
        cells = []
        for reference in references:
            scores = reference_ap(truth, *reference(truth, ships.SPLITS[name].size))
            cells.append(" / ".join(f"{score:.3f}" for score in scores))
        line = f"{name:<7}{count['images']:>8}{count['objects']:>9}{count['difficult']:>11}"
        print(line + "".join(f"{cell:>24}" for cell in cells))
    print(f"\n{(out / 'ATTRIBUTION.txt').read_text()}\nships data ready in {out}")


if __name__ == "__main__":
    main()
