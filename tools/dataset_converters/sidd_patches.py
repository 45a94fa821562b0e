"""Cut SIDD-Medium sRGB into the patches that Uformer is trained on.

    python tools/dataset_converters/sidd_patches.py SIDD_Medium_Srgb/Data data/sidd/train

Each of the 320 pairs gives 300 patches of 256 x 256 pixels at random places, named
``<pair>_<patch>.png`` in ``input`` and ``groundtruth`` (about 15 GB). Places depend on seed and
pair only, and files appear complete or not at all: an interrupted run is continued by the same
command.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
from mmengine.utils import track_parallel_progress

from mmext.restoration.image_io import ImageError, read_image, write_image
from mmext.restoration.recipe_file import claim_folder


def find_pairs(source: Path) -> list[tuple[Path, Path]]:
    """Return noisy and clean image of each pair, in the order of their names.

    Raises:
        FileNotFoundError: There are none, or a partner is missing.
    """
    noisy = sorted(source.glob("*/*NOISY_SRGB*.PNG"))
    pairs = [(path, path.with_name(path.name.replace("NOISY", "GT"))) for path in noisy]
    missing = [str(clean) for _, clean in pairs if not clean.is_file()]
    if missing or not pairs:
        raise FileNotFoundError(
            f"{missing[0] if missing else source / '*/*NOISY_SRGB*.PNG'} does not exist. Expected "
            "SIDD-Medium's folder Data with NOISY_SRGB and GT_SRGB images in each scene."
        )
    return pairs


def cut_pair(
    job: tuple[int, tuple[Path, Path]], *, target: Path, patches: int, size: int, seed: int
) -> int:
    """Cut one pair.

    Args:
        job: Number of the pair, and its images.
        target: Folder of ``input`` and ``groundtruth``.
        patches: How many.
        size: Side of a patch in pixels.
        seed: Seed of the places.

    Returns:
        How many patches were written; those that exist are left as they are.

    Raises:
        ImageError: The images cannot be read, differ in size or are smaller than a patch.
    """
    number, paths = job
    names = [
        tuple(target / kind / f"{number}_{patch}.png" for kind in ("input", "groundtruth"))
        for patch in range(1, patches + 1)
    ]
    if all(file.is_file() for pair in names for file in pair):
        return 0
    images = [read_image(path) for path in paths]
    height, width = images[0].shape[:2]
    if images[1].shape != images[0].shape or min(height, width) < size:
        raise ImageError(
            f"{paths[0]} is {images[0].shape}, {paths[1]} {images[1].shape}. Expected equal shapes "
            f"of at least {size} pixels; unpack the archive again."
        )
    places = np.random.default_rng((seed, number)).integers(
        0, (height - size + 1, width - size + 1), (patches, 2)
    )
    written = 0
    for (top, left), files in zip(places.tolist(), names, strict=True):
        if not all(file.is_file() for file in files):
            for file, image in zip(files, images, strict=True):
                write_image(file, image[top : top + size, left : left + size])
            written += 1
    return written


def main() -> None:
    """Cut all pairs, in several processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder Data of SIDD-Medium sRGB")
    parser.add_argument("target", type=Path, help="folder to write")
    parser.add_argument("--patches", type=int, default=300, help="patches of each pair")
    parser.add_argument("--size", type=int, default=256, help="side of a patch in pixels")
    parser.add_argument("--seed", type=int, default=1234, help="seed of the places")
    parser.add_argument("--workers", type=int, default=4, help="processes")
    args = parser.parse_args()
    try:
        jobs = list(enumerate(find_pairs(args.source), start=1))
        options = dict(patches=args.patches, size=args.size, seed=args.seed)
        claim_folder(args.target, options)
        cut = partial(cut_pair, target=args.target, **options)
        written = track_parallel_progress(cut, jobs, args.workers, keep_order=False)
    except (OSError, ValueError) as error:
        sys.exit(f"\nsidd_patches: {error}")
    total = len(jobs) * args.patches
    print(f"\n{sum(written)} patches written, {total - sum(written)} were there, in {args.target}")


if __name__ == "__main__":
    main()
