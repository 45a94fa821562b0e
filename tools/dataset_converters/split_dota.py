r"""Cut DOTA's large images and labels into patches for training and testing.

    python tools/dataset_converters/split_dota.py --images data/DOTA/train/images \
        data/DOTA/val/images --labels data/DOTA/train/labelTxt data/DOTA/val/labelTxt \
        --out data/split_ss_dota/trainval

Multi-scale: ``--gap 500 --rates 0.5 1 1.5``. Test images have no ``--labels``. A run that was
stopped goes on where it was when the same command is given again.
"""

import argparse
import os
from pathlib import Path

from mmext.rotated.split import split_dataset, split_recipe


def main() -> None:
    """Split and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, nargs="+", required=True, help="image folders")
    parser.add_argument("--labels", type=Path, nargs="+", help="folders of txt files, one for each")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--size", type=int, default=1024, help="window in pixels")
    parser.add_argument("--gap", type=int, default=200, help="overlap of neighbours in pixels")
    parser.add_argument(
        "--rates", type=float, nargs="+", default=[1.0], help="divide window and gap by each"
    )
    parser.add_argument(
        "--drop-empty",
        action="store_true",
        help="leave windows without objects out; for training only, a validation needs them all",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    args = parser.parse_args()
    if args.drop_empty and args.labels is None:
        parser.error("--drop-empty without --labels would leave nothing")
    recipe = split_recipe(args.size, args.gap, args.rates, keep_empty=not args.drop_empty)
    counts = split_dataset(args.images, args.labels, args.out, recipe, workers=args.workers)
    print(f"{args.out}: " + ", ".join(f"{value} {name}" for name, value in counts.items()))


if __name__ == "__main__":
    main()
