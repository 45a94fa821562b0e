"""IoU of adapted models: subsets of classes, a row for each domain, a table of the classes."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger, print_log
from mmengine.structures import PixelData
from torch import Tensor

from mmext.files import write_file
from mmext.ops import confusion_matrix
from mmext.registry import METRICS

from .datasets.class_sets import CLASS_SETS, IGNORE, ClassSet

Rows = dict[str, dict[str, float]]


def iou_per_class(matrix: np.ndarray) -> np.ndarray:
    """Return the IoU of each class.

    Args:
        matrix: (C, C) target by prediction, over all classes.

    Returns:
        (C,) float64 in [0, 1]; NaN for classes that are neither in the target nor predicted. A
        class that is there and never predicted has 0, and so has one that is predicted only.
    """
    hit = np.diag(matrix).astype(np.float64)
    union = matrix.sum(axis=0) + matrix.sum(axis=1) - hit
    return np.divide(hit, union, out=np.full(len(hit), np.nan), where=union > 0)


def merge_classes(matrix: np.ndarray, groups: Sequence[Sequence[int]]) -> np.ndarray:
    """Return the confusion matrix between groups of classes.

    Args:
        matrix: (C, C).
        groups: For each of G groups the classes in it; classes in none are dropped.
    """
    member = np.zeros((len(matrix), len(groups)), dtype=matrix.dtype)
    for column, group in enumerate(groups):
        member[list(group), column] = 1
    return member.T @ matrix @ member


@METRICS.register_module()
class UDAIoUMetric(BaseMetric):
    """Mean IoU over the class sets that papers report, for each domain and on average.

    The keys of the result are ``mIoU`` and ``aAcc`` over all classes of the data set, and
    ``mIoU16``, ``mIoU13`` (parts of Cityscapes' 19 classes) and ``mIoU7`` (its super-classes,
    merged before counting) where they make sense; in percent. With several domains
    (:class:`~mmext.segmentation.datasets.DomainConcatDataset`) ``mIoU`` and the others are means
    over the domains, and each has its own, such as ``cityscapes/mIoU``.

    The IoU of a class in a part of the classes is that over all classes: predictions of a class
    outside of the part count against it. Papers that train 19 classes on SYNTHIA report
    ``mIoU16``; a mean over 19 classes of which three are never learnt is 16/19 of it.

    Args:
        class_sets: Names of class sets of which to report a mean, such as ``('cityscapes_16',)``.
            None: all those that are made of the data set's classes.
        ignore_index: Pixels of this target are left out.
        out_file: Table of the classes to write, ``.csv`` or ``.md``.
        collect_device: As for :class:`mmengine.evaluator.BaseMetric`.
        prefix: Likewise.

    Source: the evaluation of Cityscapes; parts of the classes as in Tsai et al., "Learning to Adapt
    Structured Output Space", CVPR 2018, and the official code of BDL.
    """

    def __init__(
        self,
        *,
        class_sets: Sequence[str] | None = None,
        ignore_index: int = IGNORE,
        out_file: str | None = None,
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if out_file is not None and Path(out_file).suffix not in (".csv", ".md"):
            raise ValueError(f"UDAIoUMetric.out_file is {out_file!r}. Expected .csv or .md.")
        unknown = [name for name in class_sets or () if name not in CLASS_SETS]
        if unknown:
            raise ValueError(
                f"UDAIoUMetric.class_sets has {unknown}. Expected names among {list(CLASS_SETS)}."
            )
        self.class_sets = class_sets
        self.ignore_index = ignore_index
        self.out_file = out_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count the confusions of each image.

        Args:
            data_batch: Not looked at.
            data_samples: With ``pred_sem_seg`` and ``gt_sem_seg``, and perhaps ``domain``.

        Raises:
            ValueError: A sample has no labels, or of another size or with unknown classes.
        """
        num_classes = len(self.dataset_meta["classes"])
        for sample in data_samples:
            name = sample.get("img_path", "an image")
            if "gt_sem_seg" not in sample:
                raise ValueError(
                    f"UDAIoUMetric: {name} has no labels. Expected mmext.LoadLabelIds in the test "
                    "pipeline, and data_prefix.seg_map_path in the data set."
                )
            pred, target = (_map(sample[key]) for key in ("pred_sem_seg", "gt_sem_seg"))
            try:
                matrix = confusion_matrix(
                    pred, target.to(pred.device), num_classes, self.ignore_index
                )
            except ValueError as error:
                raise ValueError(f"UDAIoUMetric: {name}: {error}") from error
            # One small matrix leaves the device for each image; summed at the end, so that images
            # which a distributed sampler repeats can be dropped.
            self.results.append((sample.get("domain", ""), matrix.cpu().numpy()))

    def compute_metrics(self, results: list[tuple[str, np.ndarray]]) -> dict[str, float]:
        """Return the figures, and print the table of the classes.

        Args:
            results: Domain and confusion matrix of each image.

        Raises:
            ValueError: All pixels of a domain are ignored.
        """
        classes = tuple(self.dataset_meta["classes"])
        matrices: dict[str, np.ndarray] = {}
        for domain, matrix in results:
            matrices[domain] = matrices.get(domain, 0) + matrix
        for domain, matrix in matrices.items():
            if not matrix.any():
                raise ValueError(
                    f"UDAIoUMetric: each pixel of the labels{domain and f' of {domain}'} is "
                    f"{self.ignore_index}, there is nothing to measure. Expected label files with "
                    "classes; correct label_table or data_prefix.seg_map_path."
                )
        sets = self._sets(classes)
        rows = {domain: _figures(matrix, sets) for domain, matrix in matrices.items()}
        per_class = {
            domain or "IoU": dict(zip(classes, 100 * iou_per_class(matrix), strict=True))
            for domain, matrix in matrices.items()
        }
        table = format_table(per_class, "class")
        print_log(f"IoU of each class in percent\n{table}", MMLogger.get_current_instance())
        if self.out_file is not None:
            write_table(self.out_file, per_class, "class")
        names = next(iter(rows.values()))
        figures = {name: float(np.nanmean([row[name] for row in rows.values()])) for name in names}
        if len(rows) > 1 or "" not in rows:
            for domain, row in rows.items():
                figures |= {f"{domain}/{name}": value for name, value in row.items()}
        return figures

    def _sets(self, classes: tuple[str, ...]) -> dict[str, ClassSet]:
        """Return the class sets to report, by the name of their mean."""
        fitting = {
            name: known
            for name, known in CLASS_SETS.items()
            if known.parent is not None and CLASS_SETS[known.parent].names == classes
        }
        for name in self.class_sets or ():
            if name not in fitting and CLASS_SETS[name].names != classes:
                raise ValueError(
                    f"UDAIoUMetric.class_sets has {name!r}, which is not made of the classes "
                    f"{classes} of the data set."
                )
        wanted = fitting if self.class_sets is None else self.class_sets
        return {
            f"mIoU{name.rpartition('_')[2]}": known
            for name, known in fitting.items()
            if name in wanted
        }


def _map(data: PixelData | Mapping[str, Tensor]) -> Tensor:
    """Return the (H, W) classes of a prediction or target."""
    return data["data"].squeeze(0) if isinstance(data, Mapping) else data.data.squeeze(0)


def _figures(matrix: np.ndarray, sets: Mapping[str, ClassSet]) -> dict[str, float]:
    """Return the figures of a domain in percent."""
    iou = iou_per_class(matrix)
    figures = dict(mIoU=float(np.nanmean(iou)), aAcc=np.trace(matrix) / max(matrix.sum(), 1))
    for name, known in sets.items():
        if all(len(group) == 1 for group in known.groups):
            chosen = iou[[index for group in known.groups for index in group]]
        else:
            chosen = iou_per_class(merge_classes(matrix, known.groups))
        figures[name] = float(np.nanmean(chosen))
    return {name: 100 * float(value) for name, value in figures.items()}


def format_table(columns: Rows, corner: str) -> str:
    """Return a markdown table.

    Args:
        columns: For each column's name the figures by the name of their row; NaN leaves a dash.
        corner: Name of the first column.
    """
    names = list(columns)
    lines = [f"| {corner} | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for row in next(iter(columns.values())):
        cells = (columns[name][row] for name in names)
        text = " | ".join("-" if np.isnan(cell) else f"{cell:.2f}" for cell in cells)
        lines.append(f"| {row} | {text} |")
    return "\n".join(lines)


def write_table(path: str | Path, columns: Rows, corner: str) -> None:
    """Write a table as ``.md`` or ``.csv``, complete or not at all.

    Args:
        path: File to write.
        columns: As for :func:`format_table`.
        corner: Name of the first column.
    """
    path = Path(path)
    if path.suffix == ".md":
        text = format_table(columns, corner) + "\n"
    else:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow([corner, *columns])
        for row in next(iter(columns.values())):
            writer.writerow([row, *(columns[name][row] for name in columns)])
        text = buffer.getvalue()
    write_file(path, text)
