"""Cityscapes: submissions with label ids, and the pixel-level figures of the official script.

    python -m mmext.leaderboards.cityscapes evaluate RESULTS GROUND_TRUTH [--out FIGURES.csv]
    python -m mmext.leaderboards.cityscapes check RESULTS.zip

The server wants a zip of 8-bit png files of 2048 x 1024 pixels with label ids (not train ids), one
for each of the 1,525 test images, named like them. ``CityscapesSubmission`` as the evaluator of
``tools/test.py`` writes it::

    test_evaluator = dict(type='mmext.CityscapesSubmission', out_file='results.zip')

``evaluate`` compares such files, in a folder or a zip, with ``*_gtFine_labelIds.png``. Source:
https://www.cityscapes-dataset.com/benchmarks/ and evalPixelLevelSemanticLabeling.py of
cityscapesScripts.
"""

import argparse
import csv
import io
import re
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mmengine.dist import is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.utils import ProgressBar

from mmext.files import write_file
from mmext.registry import METRICS
from mmext.segmentation.datasets.class_sets import CLASS_SETS, IGNORE
from mmext.segmentation.datasets.label_tables import LABEL_TABLES
from mmext.segmentation.datasets.loading import decode_label_ids
from mmext.segmentation.metrics import iou_per_class

SIZE = (1024, 2048)
TEST_IMAGES = 1525
CLASSES = CLASS_SETS["cityscapes_19"].names
_IMAGE_NAME = re.compile(r"^([a-z-]+_\d{6}_\d{6})")
_TRAIN_IDS = LABEL_TABLES["cityscapes/cityscapes_19"].lut


def to_label_ids(train_ids: np.ndarray) -> np.ndarray:
    """Return the label ids of train ids.

    Args:
        train_ids: (H, W), 0 to 18; 255 becomes 0, unlabelled.

    Returns:
        (H, W) uint8.

    Raises:
        ValueError: There are other values.
    """
    lut = np.full(256, IGNORE, np.uint8)
    for label_id, train_id in LABEL_TABLES["cityscapes/cityscapes_19"].classes.items():
        lut[train_id] = label_id
    lut[IGNORE] = 0
    found = cv2.LUT(np.ascontiguousarray(train_ids.astype(np.uint8)), lut)
    if (found == IGNORE).any():
        raise ValueError(
            f"train ids up to {train_ids[train_ids != IGNORE].max()}: expected 0 to 18, or 255"
        )
    return found


def image_key(name: str) -> str:
    """Return the ``<city>_<sequence>_<frame>`` of a file name.

    Raises:
        ValueError: The name has none.
    """
    found = _IMAGE_NAME.match(Path(name).name)
    if found is None:
        raise ValueError(
            f"{name}: expected a name that begins with <city>_<sequence>_<frame>, such as "
            "berlin_000000_000019_leftImg8bit.png"
        )
    return found.group(1)


@METRICS.register_module()
class CityscapesSubmission(BaseMetric):
    """Writes predictions as the zip that Cityscapes' server wants.

    Args:
        out_file: The zip.
        collect_device: As for :class:`mmengine.evaluator.BaseMetric`.
        prefix: Likewise.
    """

    def __init__(
        self, *, out_file: str, collect_device: str = "cpu", prefix: str | None = None
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if not out_file.endswith(".zip"):
            raise ValueError(f"CityscapesSubmission.out_file is {out_file!r}. Expected a .zip.")
        self.out_file = out_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Encode the predictions of a batch.

        Args:
            data_batch: Not looked at.
            data_samples: With ``pred_sem_seg``, train ids in the size of the original image.

        Raises:
            ValueError: A prediction has another size, or other classes.
        """
        for sample in data_samples:
            pred = sample["pred_sem_seg"]["data"].squeeze(0).cpu().numpy()
            name = f"{Path(sample['img_path']).stem}.png"
            image_key(name)
            if pred.shape != SIZE:
                raise ValueError(
                    f"the prediction for {sample['img_path']} is {pred.shape[1]}x{pred.shape[0]}: "
                    f"expected {SIZE[1]}x{SIZE[0]}, the size of Cityscapes' images"
                )
            # As png, which is small; else the predictions of 1,525 images would take 3 GB.
            self.results.append((name, cv2.imencode(".png", to_label_ids(pred))[1].tobytes()))

    def compute_metrics(self, results: list[tuple[str, bytes]]) -> dict[str, float]:
        """Write the zip.

        Args:
            results: Name and content of each file.
        """
        if is_main_process():
            write_submission(dict(results), self.out_file)
        return dict(images=len(results))


def write_submission(files: Mapping[str, bytes], path: str | Path) -> Path:
    """Write a zip under a temporary name and rename it when it is complete.

    Args:
        files: Content of png files by name.
        path: The zip.

    Returns:
        ``path``.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(files.items()):
            archive.writestr(name, content)
    write_file(path, buffer.getvalue())
    return Path(path)


def read_results(source: str | Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield name and content of each png file in a folder or a zip.

    Raises:
        FileNotFoundError: There is no such folder or zip.
    """
    source = Path(source)
    if source.is_dir():
        for path in sorted(source.rglob("*.png")):
            yield path.name, path.read_bytes
    elif source.is_file():
        with zipfile.ZipFile(source) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".png"):
                    yield name, lambda name=name: archive.read(name)
    else:
        raise FileNotFoundError(f"{source} is neither a folder nor a zip of png files")


def check_submission(source: str | Path, expected: int = TEST_IMAGES) -> list[str]:
    """Return what the server would refuse in a folder or zip; nothing if it is right.

    Args:
        source: Folder or zip.
        expected: Number of images.
    """
    faults, keys = [], set()
    for name, read in read_results(source):
        try:
            keys.add(image_key(name))
            ids = decode_label_ids(read(), name)
        except ValueError as error:
            faults.append(str(error))
            continue
        if ids.shape != SIZE:
            faults.append(f"{name} is {ids.shape[1]}x{ids.shape[0]}: expected {SIZE[1]}x{SIZE[0]}")
        elif not np.isin(np.unique(ids), np.flatnonzero(_TRAIN_IDS < 19)).any():
            faults.append(f"{name} has none of the evaluated label ids")
        elif ids.max() > 33:
            faults.append(f"{name} has the id {ids.max()}: expected label ids from 0 to 33")
    if len(keys) != expected:
        faults.append(f"{len(keys)} images are there: expected {expected}")
    return faults


def evaluate(
    results: str | Path, ground_truth: str | Path, progress: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """Return IoU of the classes and their mean in percent, as the official script computes them.

    Args:
        results: Folder or zip of png files with label ids, 2048 x 1024 pixels.
        ground_truth: Folder with ``*_gtFine_labelIds.png``.
        progress: Called after each image.

    Returns:
        ``mIoU`` and the IoU by class; NaN for classes that occur nowhere.

    Raises:
        FileNotFoundError: An image has no result, or there is no ground truth.
        ValueError: Sizes differ.
    """
    truth = {image_key(p.name): p for p in Path(ground_truth).rglob("*_gtFine_labelIds.png")}
    if not truth:
        raise FileNotFoundError(f"{ground_truth} has no *_gtFine_labelIds.png")
    # What is predicted as a class that is not evaluated counts against the true class: a column
    # of its own, which has no row.
    matrix = np.zeros((len(CLASSES) + 1,) * 2, np.int64)
    pending = dict(truth)
    for name, read in read_results(results):
        path = pending.pop(image_key(name), None)
        if path is None:
            continue
        pred = decode_label_ids(read(), name)
        target = decode_label_ids(path.read_bytes(), str(path))
        if pred.shape != target.shape:
            raise ValueError(
                f"{name} is {pred.shape[1]}x{pred.shape[0]}, {path.name} "
                f"{target.shape[1]}x{target.shape[0]}: expected equal sizes"
            )
        rows, columns = (np.minimum(_TRAIN_IDS[ids], len(CLASSES)) for ids in (target, pred))
        cells = rows.astype(np.int64) * len(matrix) + columns
        matrix += np.bincount(cells.ravel(), minlength=matrix.size).reshape(matrix.shape)
        progress()
    if pending:
        raise FileNotFoundError(
            f"{len(pending)} of {len(truth)} images have no result in {results}: "
            f"{', '.join(sorted(pending)[:3])}"
        )
    matrix[-1] = 0
    iou = 100 * iou_per_class(matrix)[:-1]
    return dict(mIoU=float(np.nanmean(iou))) | dict(zip(CLASSES, iou.tolist(), strict=True))


def main() -> None:
    """Evaluate or check from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("evaluate", help="compare with ground truth")
    command.add_argument("results", type=Path, help="folder or zip of png files with label ids")
    command.add_argument("ground_truth", type=Path, help="folder with *_gtFine_labelIds.png")
    command.add_argument("--out", type=Path, help="csv file with the figures")
    command = commands.add_parser("check", help="look for what the server would refuse")
    command.add_argument("results", type=Path, help="folder or zip")
    args = parser.parse_args()
    try:
        if args.command == "check":
            faults = check_submission(args.results)
            sys.exit("\n".join(faults) if faults else None)
        total = sum(1 for _ in args.ground_truth.rglob("*_gtFine_labelIds.png"))
        figures = evaluate(
            args.results, args.ground_truth, ProgressBar(total, file=sys.stderr).update
        )
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"\nerror: {error}")
    print("\n" + "\n".join(f"{name:<14}{value:6.2f}" for name, value in figures.items()))
    if args.out is not None:
        text = io.StringIO()
        csv.writer(text).writerows([["class", "IoU"], *figures.items()])
        write_file(args.out, text.getvalue())


if __name__ == "__main__":
    main()
