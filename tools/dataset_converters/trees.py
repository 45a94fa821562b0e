"""Write the tree crown data (real aerial photographs, COCO json) that the demo trains on.

Usage: ``python tools/dataset_converters/trees.py [--out data/trees]``; a second run returns at
once. The scenes come out of the deepforest package: ``pip install --no-deps deepforest==2.1.0``.
"""

import argparse
import json
import sys
from pathlib import Path

from mmext.embedded import trees
from mmext.embedded.coco_chance import chance_ap50


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
