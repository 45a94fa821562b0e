"""Write degraded photographs with their originals, which the small restoration configs train on.

Usage: ``python tools/dataset_converters/photos.py [--out data/photos]``; a second run returns at
once. The photographs come out of scikit-image and, if it is installed, scikit-learn.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from mmext.embedded import photos
from mmext.restoration.image_io import read_image
from mmext.restoration.quality import psnr


def input_psnr(folder: Path, degradation: str) -> float:
    """Return the mean PSNR in dB of a split's degraded pictures: what a restorer has to beat."""
    values = [
        psnr(read_image(path) / 255, read_image(folder / "clean" / path.name) / 255)
        for path in sorted((folder / degradation).glob("*.png"))
    ]
    return float(np.mean(values))


def main() -> None:
    """Prepare the data, then print where it is, its counts, the inputs' PSNR and the sources."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("data/photos"), help="folder to write")
    out = parser.parse_args().out
    try:
        photos.prepare(out)
    except (OSError, ValueError) as error:
        sys.exit(f"photos: {error}")
    manifest = json.loads((out / "manifest.json").read_text())
    print(f"{'split':<8}{'pictures':>9}" + "".join(f"{key:>9}" for key in photos.DEGRADATIONS))
    for split, count in manifest["counts"].items():
        row = "".join(f"{input_psnr(out / split, key):9.2f}" for key in photos.DEGRADATIONS)
        print(f"{split:<8}{count:>9}{row}   (PSNR of the degraded pictures in dB)")
    missing = {photo.package for photo in photos.PHOTOS} - {
        photo["package"] for photo in manifest["recipe"]["photos"]
    }
    for package in missing:
        names = ", ".join(photo.name for photo in photos.PHOTOS if photo.package == package)
        print(f"without {names}: {photos.INSTALL[package]}, then run this again")
    print(f"\n{(out / 'ATTRIBUTION.txt').read_text()}\nphotographs ready in {out}")


if __name__ == "__main__":
    main()
