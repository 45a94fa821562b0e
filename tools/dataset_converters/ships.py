"""Write the ships data: rendered vessels at every angle over photographs, as DOTA txt.

Usage: ``python tools/dataset_converters/ships.py [--out data/ships]``; a second run returns at
once. The photographs come out of the scikit-image package:
``pip install --no-deps scikit-image==0.26.0``.

Three figures stand beside each split, AP50 and AP75 of detections that need no model: boxes of the
right number, sizes and angles at random places (chance), the horizontal boxes around the true ones
(what a detector without angles can reach), and the true boxes after a detector's encoding, decoding
and suppression of overlaps (the upper end).
"""

import argparse
import json
import sys
from pathlib import Path

from mmext.embedded import ships, ships_scores


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
    columns = [f"{kind} AP50/75" for kind in ships_scores.REFERENCES]
    print(f"{'split':<7}{'images':>8}{'objects':>9}{'difficult':>11}", *columns, sep="   ")
    for name, count in counts.items():
        scores = [
            "/".join(f"{value:.3f}" for value in ships_scores.reference_scores(out / name, kind))
            for kind in ships_scores.REFERENCES
        ]
        line = f"{name:<7}{count['images']:>8}{count['objects']:>9}{count['difficult']:>11}"
        cells = [f"{s:>{len(c)}}" for s, c in zip(scores, columns, strict=True)]
        print(line, *cells, sep="   ")
    print(f"\n{(out / 'ATTRIBUTION.txt').read_text()}\nships data ready in {out}")


if __name__ == "__main__":
    main()
