"""The figures of a campaign as a table, one row per cycle."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmext.files import write_file

RESULTS_FILE = "active_learning.csv"


def write_results(folder: str | Path, history: Sequence[Mapping]) -> Path:
    """Write ``active_learning.csv``: cycle, labelled images, their boxes, metrics, seconds.

    Args:
        folder: Work directory.
        history: :attr:`Pool.history <mmext.active_learning.Pool>`.

    Returns:
        Path of the file.
    """
    metrics = list(dict.fromkeys(name for entry in history for name in entry["metrics"]))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cycle", "labeled", "boxes", *metrics, "seconds"])
    for entry in history:
        figures = [entry["metrics"].get(name, "") for name in metrics]
        sizes = [entry[name] for name in ("cycle", "labeled", "boxes")]
        writer.writerow([*sizes, *figures, round(entry["seconds"], 1)])
    path = Path(folder) / RESULTS_FILE
    write_file(path, text.getvalue())
    return path
