"""Write the shapes that active learning is measured on (rendered over photographs, COCO json).

Usage: ``python tools/dataset_converters/al_shapes.py [--out data/al_shapes]``; a second run returns
at once. The photographs come out of the scikit-image package:
``pip install --no-deps scikit-image==0.26.0``.
"""

import argparse
import json
import sys
from pathlib import Path

from mmext.embedded import al_shapes
from mmext.embedded.coco_chance import chance_ap50


def main() -> None:
    """Prepare the data, then print where it is, its counts, chance scores and licence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/al_shapes"), help="folder to write")
    out = parser.parse_args().out
    try:
        al_shapes.prepare(out)
    except (OSError, ValueError) as error:
        sys.exit(f"al_shapes: {error}")
    counts = json.loads((out / "manifest.json").read_text())["counts"]
    heads = "".join(f"{head:>10}" for head in ("split", "images", *al_shapes.CLASSES))
    print(f"{heads}  chance AP50")
    for name, count in counts.items():
        cells = "".join(f"{cell:>10}" for cell in (name, *count.values()))
        print(f"{cells}  {chance_ap50(out / 'annotations' / f'{name}.json'):.3f}")
    print(f"\n{(out / 'ATTRIBUTION.txt').read_text()}\nshapes ready in {out}")


if __name__ == "__main__":
    main()
