"""AP as a table per class, precision-recall curves as csv and picture."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from terminaltables import AsciiTable

from mmext.files import write_file

from .average_precision import APResult


def threshold_name(threshold: float) -> str:
    """Return such as ``AP50`` for 0.5."""
    return f"AP{100 * threshold:.4g}"


def table_rows(result: APResult, classes: Sequence[str]) -> list[list[str]]:
    """Return header, one row per class and the mean, AP in percent.

    Args:
        result: AP of C classes at T thresholds.
        classes: C names.

    Returns:
        Rows of strings; the mean over thresholds is the last column if there are several. Classes
        without objects have ``-``.
    """
    head = ["class", "objects", "difficult", "detections"]
    head += [threshold_name(threshold) for threshold in result.iou_thrs]
    several = len(result.iou_thrs) > 1
    rows = [head + ["mean"] * several]
    for label, name in enumerate(classes):
        counts = (result.num_objects, result.num_ignored, result.num_detections)
        row = [name, *(str(column[label]) for column in counts)]
        rows.append(row + _percent(result.ap[:, label]))
    means = result.mean_ap()
    totals = (result.num_objects, result.num_ignored, result.num_detections)
    rows.append(["mean", *(str(column.sum()) for column in totals), *_percent(means)])
    return rows


def format_table(result: APResult, classes: Sequence[str]) -> str:
    """Return :func:`table_rows` for a terminal."""
    table = AsciiTable(table_rows(result, classes))
    table.inner_footing_row_border = True
    return str(table.table)


def write_report(
    folder: Path, result: APResult, classes: Sequence[str], *, threshold: float
) -> list[Path]:
    """Write ``per_class.csv``, ``pr_<threshold>.csv`` and ``pr_<threshold>.png``.

    Args:
        folder: Folder to write into; made if need be.
        result: AP of C classes.
        classes: C names.
        threshold: Which of the thresholds' curves to write.

    Returns:
        The files.

    Raises:
        ValueError: ``threshold`` is none of the result's.
    """
    if threshold not in result.iou_thrs:
        raise ValueError(f"threshold {threshold} is none of {result.iou_thrs}")
    curves = result.curves[result.iou_thrs.index(threshold)]
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    points: list[list[object]] = [["class", "score", "recall", "precision"]]
    for name, curve in zip(classes, curves, strict=True):
        columns = (curve.score.tolist(), curve.recall.tolist(), curve.precision.tolist())
        points += [[name, *values] for values in zip(*columns, strict=True)]
    name = f"pr_{100 * threshold:.4g}"
    files = [folder / "per_class.csv", folder / f"{name}.csv", folder / f"{name}.png"]
    write_file(files[0], _csv(table_rows(result, classes)))
    write_file(files[1], _csv(points))
    write_file(files[2], _picture(result, classes, threshold))
    return files


def _percent(values: np.ndarray) -> list[str]:
    """Return AP in percent, with the mean behind if there are several."""
    shown = [*values, *([values.mean()] if len(values) > 1 else [])]
    return ["-" if math.isnan(value) else f"{100 * value:.2f}" for value in shown]


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _picture(result: APResult, classes: Sequence[str], threshold: float) -> bytes:
    """Draw the curves of all classes into one png."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    row = result.iou_thrs.index(threshold)
    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for label, name in enumerate(classes):
        if result.num_objects[label]:
            curve = result.curves[row][label]
            style = "-" if label < 10 else "--"
            legend = f"{name} {100 * result.ap[row, label]:.1f}"
            axes.plot(curve.recall, curve.precision, style, label=legend)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(f"IoU > {threshold:g}; AP in percent")
    if axes.lines:
        axes.legend(fontsize="small", loc="lower left")
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=120)
    return image.getvalue()
