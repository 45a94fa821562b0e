"""Write the tree crown data (real aerial photographs, COCO json) that the demo trains on.

Usage: ``python tools/dataset_converters/trees.py [--out data/trees]``; a second run returns at
once. The scenes come out of the deepforest package: ``pip install --no-deps deepforest==2.1.0``.
"""

import argparse
import contextlib
import io
import json
import sys
from pathlib import Path

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmext.embedded import trees


def chance_ap50(annotation_file: Path) -> float:
    """Return the AP50 of boxes of the right number and sizes at random places, in [0, 1]."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotation_file))
        found = truth.loadRes(trees.chance_detections(annotation_file))
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1])


def main() -> None:
    """Prepare the data, then print where it is, its counts, chance scores and licence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/trees"), help="folder to write")
    out = parser.parse_args().out
    try:
        trees.prepare(out)
    except (OSError, ValueError) as error:
        sys.exit(f"trees: {error}")
    counts = json.loads((out / "manifest.json").read_text())["counts"]
    print(f"{'split':<12}{'images':>8}{'boxes':>8}   chance AP50")
    for name, count in counts.items():
        chance = chance_ap50(out / "annotations" / f"{name}.json")
        print(f"{name:<12}{count['images']:>8}{count['boxes']:>8}   {chance:.3f}")
    print(f"\n{(out / 'ATTRIBUTION.txt').read_text()}\ntree data ready in {out}")


if __name__ == "__main__":
    main()
