"""What the evaluators of saved images share: pairing files, progress, a table."""

import argparse
import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from mmengine.utils import ProgressBar

from mmext.files import write_file
from mmext.restoration.datasets import list_images
from mmext.restoration.image_io import PEAKS, read_image, to_bgr

Figures = dict[str, float]


def evaluate_folders(
    results: str | Path,
    targets: str | Path,
    figures: Callable[[np.ndarray, np.ndarray], Figures],
    progress: Callable[[], None] = lambda: None,
) -> dict[str, Figures]:
    """Compute figures of each saved image.

    Args:
        results: Folder of restored images; names (without suffix) as in ``targets``.
        targets: Folder of targets, each of which needs a result.
        figures: Maps result and target, (H, W, 3) RGB in [0, 1], to figures.
        progress: Called after each image.

    Returns:
        The figures by image, and those of ``'mean'``.

    Raises:
        ValueError: Images are missing or of another size.
    """
    found = [
        {str(Path(name).with_suffix("")): Path(folder, name) for name in list_images(str(folder))}
        for folder in (results, targets)
    ]
    missing = sorted(found[1].keys() - found[0].keys())
    if missing or not found[1]:
        raise ValueError(
            f"{len(missing)} of the {len(found[1])} images of {targets} have no result in "
            f"{results}: {', '.join(missing[:3])}. Expected a restored image of the same name for "
            "each target."
        )
    table = {}
    for name, target_path in sorted(found[1].items()):
        paths = (found[0][name], target_path)
        pair = [read_image(path) for path in paths]
        if pair[0].shape[:2] != pair[1].shape[:2]:
            sizes = [
                f"{path} {image.shape[1]}x{image.shape[0]}"
                for path, image in zip(paths, pair, strict=True)
            ]
            raise ValueError(
                f"{' and '.join(sizes)} pixels: expected equal sizes; restore it again"
            )
        rgb = [
            to_bgr(image, str(path))[..., ::-1] / np.float64(PEAKS[image.dtype])
            for path, image in zip(paths, pair, strict=True)
        ]
        table[name] = figures(*rgb)
        progress()
    names = next(iter(table.values()))
    table["mean"] = {key: float(np.mean([row[key] for row in table.values()])) for key in names}
    return table


def run_evaluator(description: str, figures: Callable[[np.ndarray, np.ndarray], Figures]) -> None:
    """Evaluate two folders from the command line, print the means, write a table if asked to.

    Args:
        description: The module's docstring.
        figures: As for :func:`evaluate_folders`.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="folder of restored images")
    parser.add_argument("targets", type=Path, help="folder of target images")
    parser.add_argument("--out", type=Path, help="csv file with the figures of each image")
    args = parser.parse_args()
    try:
        bar = ProgressBar(len(list_images(str(args.targets))), file=sys.stderr)
        table = evaluate_folders(args.results, args.targets, figures, bar.update)
    except (OSError, ValueError) as error:
        sys.exit(f"\nerror: {error}")
    print("\n" + "  ".join(f"{key} {value:.4f}" for key, value in table["mean"].items()))
    if args.out is not None:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["image", *table["mean"]])
        writer.writerows([name, *row.values()] for name, row in table.items())
        write_file(args.out, text.getvalue())
