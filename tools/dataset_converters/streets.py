"""Write the streets data: rendered street scenes in five domains, as Cityscapes lays out its files.

Usage: ``python tools/dataset_converters/streets.py [--out data/streets]``; a second run returns at
once. The photographs that serve as textures come out of the scikit-image package:
``pip install --no-deps scikit-image==0.26.0``.

Beside each domain stand the mIoU on its validation images of two predictions that need no image:
labels at random, as often as they occur (chance), and the label that is most frequent at each pixel
in the training images of ``game`` (position). The upper end is a model trained with the domain's
own labels (oracle): see docs/segmentation_data.md.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np

from mmext.embedded import streets
from mmext.segmentation.metrics import iou_per_class


def read_labels(root: Path, domain: str, split: str, count: int) -> np.ndarray:
    """Return the (N, 96, 192) uint8 labels of a split."""
    paths = [streets.file_paths(root, domain, split, index)[1] for index in range(count)]
    return np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in paths])


def mean_iou(pred: np.ndarray, target: np.ndarray) -> float:
    """Return the mIoU in percent of labels of the same shape."""
    classes = len(streets.CLASSES)
    cells = np.bincount(target.ravel().astype(int) * classes + pred.ravel(), minlength=classes**2)
    return 100 * float(np.nanmean(iou_per_class(cells.reshape(classes, classes))))


def main() -> None:
    """Prepare the data, then print where it is, class shares, reference scores and licence."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/streets"), help="folder to write")
    parser.add_argument("--seed", type=int, default=0, help="seed; all published figures are of 0")
    parser.add_argument(
        "--domains",
        nargs="+",
        default=streets.DOMAINS,
        choices=streets.DOMAINS,
        metavar="DOMAIN",
        help=f"which of {', '.join(streets.DOMAINS)} to write",
    )
    args = parser.parse_args()
    try:
        streets.prepare(args.out, args.seed, args.domains)
    except (OSError, ValueError) as error:
        sys.exit(f"streets: {error}")
    manifest = json.loads((args.out / "manifest.json").read_text())
    counts, rng = manifest["recipe"]["counts"], np.random.default_rng(0)
    source = "game" if "game" in args.domains else args.domains[0]
    prior = streets.prior_labels(read_labels(args.out, source, "train", counts["train"]))
    heads = "".join(f"{name:>11}" for name in streets.CLASSES)
    print(f"{'domain':<8}{'train':>6}{'val':>5}{'chance':>8}{'position':>10}{heads}  (% of pixels)")
    for domain in args.domains:
        target = read_labels(args.out, domain, "val", counts["val"])
        chance = mean_iou(rng.permutation(target.ravel()), target)
        position = mean_iou(np.broadcast_to(prior, target.shape), target)
        shares = "".join(f"{100 * s:>11.2f}" for s in manifest["class_shares"][f"{domain}/train"])
        print(
            f"{domain:<8}{counts['train']:>6}{counts['val']:>5}{chance:>8.1f}{position:>10.1f}"
            f"{shares}"
        )
    print(f"\n{(args.out / 'ATTRIBUTION.txt').read_text()}\nstreets data ready in {args.out}")


if __name__ == "__main__":
    main()
