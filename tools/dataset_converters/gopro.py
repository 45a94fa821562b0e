"""Lay GoPro out as paired folders: whole frames, or overlapping patches.

    python tools/dataset_converters/gopro.py GOPRO_Large data/gopro

``train`` and ``test`` get ``input`` (blurred) and ``groundtruth`` (sharp) with files named
``<sequence>-<frame>.png``. Uformer trains on whole frames, which are linked (copied, where links
are not possible). ``--patch-size 512`` cuts the training frames into patches that overlap by half,
as other papers do, which makes loading faster. Files appear complete or not at all: an interrupted
run is continued by the same command.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from mmengine.utils import track_parallel_progress

from mmext.files import write_file
from mmext.restoration.image_io import ImageError, read_image, write_image
from mmext.restoration.recipe_file import claim_folder
from mmext.restoration.tiling import tile_starts

KINDS = dict(input="blur", groundtruth="sharp")


def find_pairs(source: Path, split: str) -> list[tuple[str, Path, Path]]:
    """Return name, blurred and sharp frame of each pair of a split.

    Raises:
        FileNotFoundError: There are none, or a partner is missing.
    """
    blurred = sorted((source / split).glob("*/blur/*.png"))
    pairs = [
        (f"{path.parent.parent.name}-{path.stem}", path, path.parent.parent / "sharp" / path.name)
        for path in blurred
    ]
    missing = [str(sharp) for _, _, sharp in pairs if not sharp.is_file()]
    if missing or not pairs:
        raise FileNotFoundError(
            f"{missing[0] if missing else source / split / '*/blur/*.png'} does not exist. "
            "Expected GOPRO_Large with <split>/<sequence>/blur and sharp."
        )
    return pairs


def place_file(source: Path, target: Path) -> None:
    """Link ``target`` to ``source``'s content, or copy it where links are not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        write_file(target, source.read_bytes())


def convert_pair(job: tuple[str, Path, Path], *, target: Path, patch_size: int | None) -> int:
    """Write one pair.

    Args:
        job: Name, blurred and sharp frame.
        target: Folder of the split.
        patch_size: Side of patches in pixels; None for whole frames.

    Returns:
        How many pairs of files were written; those that exist are left as they are.

    Raises:
        ImageError: The frames cannot be read, differ in size or are smaller than a patch.
    """
    name, *paths = job
    if patch_size is None:
        files = [target / kind / f"{name}.png" for kind in KINDS]
        todo = [pair for pair in zip(paths, files, strict=True) if not pair[1].is_file()]
        for path, file in todo:
            place_file(path, file)
        return int(bool(todo))
    images = [read_image(path) for path in paths]
    height, width = images[0].shape[:2]
    if images[1].shape != images[0].shape or min(height, width) < patch_size:
        raise ImageError(
            f"{paths[0]} is {images[0].shape}, {paths[1]} {images[1].shape}. Expected equal shapes "
            f"of at least {patch_size} pixels; unpack the archive again."
        )
    places = [
        (top, left)
        for top in tile_starts(height, patch_size, patch_size // 2)
        for left in tile_starts(width, patch_size, patch_size // 2)
    ]
    written = 0
    for index, (top, left) in enumerate(places):
        files = [target / kind / f"{name}-{index:02d}.png" for kind in KINDS]
        if not all(file.is_file() for file in files):
            for file, image in zip(files, images, strict=True):
                write_image(file, image[top : top + patch_size, left : left + patch_size])
            written += 1
    return written


def main() -> None:
    """Convert both splits, in several processes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="folder GOPRO_Large, with train and test")
    parser.add_argument("target", type=Path, help="folder to write")
    parser.add_argument("--patch-size", type=int, help="cut training frames into such patches")
    parser.add_argument("--workers", type=int, default=4, help="processes")
    args = parser.parse_args()
    try:
        for split in ("train", "test"):
            jobs = find_pairs(args.source, split)
            options = dict(patch_size=args.patch_size if split == "train" else None)
            claim_folder(args.target / split, options)
            convert = partial(convert_pair, target=args.target / split, **options)
            written = track_parallel_progress(convert, jobs, args.workers, keep_order=False)
            print(f"\n{split}: {len(jobs)} frames, {sum(written)} pairs of files written")
    except (OSError, ValueError) as error:
        sys.exit(f"\ngopro: {error}")


if __name__ == "__main__":
    main()
