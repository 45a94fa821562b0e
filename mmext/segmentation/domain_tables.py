"""Tables of methods by domains: the mean and spread over seeds, as markdown and csv."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmext.files import write_file

MEAN = "mean"
Runs = Mapping[str, Sequence[Mapping[str, float]]]
"""The runs of each method, and of each run the figure of each domain."""


def domain_figures(figures: Mapping[str, float], key: str = "mIoU") -> dict[str, float]:
    """Return one figure of each domain, and the mean over the domains last.

    Args:
        figures: What ``UDAIoUMetric`` returns; with a single domain ``key`` alone.
        key: Such as ``'mIoU'`` or ``'mIoU16'``.

    Raises:
        ValueError: There is no such figure.
    """
    domains = {
        name.rpartition("/")[0]: float(value)
        for name, value in figures.items()
        if name.endswith(f"/{key}")
    }
    if key not in figures and not domains:
        raise ValueError(
            f"there is no {key} among the figures {sorted(figures)}. Expected those of "
            "UDAIoUMetric; name another one with --figure."
        )
    mean = figures[key] if key in figures else statistics.mean(domains.values())
    return {**domains, MEAN: float(mean)}


def markdown_table(runs: Runs, corner: str = "method", digits: int = 1) -> str:
    """Return a row for each method, a column for each domain.

    A cell is the mean over the runs and, of several, the standard deviation: ``49.7 ± 0.6``.

    Args:
        runs: The runs of each method; domains that a run lacks leave a dash.
        corner: Name of the first column.
        digits: Decimal places.
    """
    domains = _domains(runs)
    seeds = any(len(found) > 1 for found in runs.values())
    heads = [corner, *(["seeds"] if seeds else []), *domains]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for method, found in runs.items():
        cells = [method, *([str(len(found))] if seeds else [])]
        for domain in domains:
            mean, spread = _mean_and_spread(found, domain)
            text = "-" if mean is None else f"{mean:.{digits}f}"
            cells.append(text if spread is None else f"{text} ± {spread:.{digits}f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def csv_table(runs: Runs, corner: str = "method") -> str:
    """Return the same as comma-separated values, means and standard deviations in full precision.

    Args:
        runs: As for :func:`markdown_table`.
        corner: Name of the first column.
    """
    domains = _domains(runs)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    columns = [f"{domain}{kind}" for domain in domains for kind in ("", " std")]
    writer.writerow([corner, "seeds", *columns])
    for method, found in runs.items():
        values = [value for domain in domains for value in _mean_and_spread(found, domain)]
        writer.writerow([method, len(found), *("" if v is None else v for v in values)])
    return buffer.getvalue()


def write_domain_table(path: str | Path, runs: Runs, corner: str = "method") -> None:
    """Write a table as ``.md`` or ``.csv``, complete or not at all.

    Args:
        path: File to write.
        runs: As for :func:`markdown_table`.
        corner: Name of the first column.

    Raises:
        ValueError: The name ends otherwise.
    """
    path = Path(path)
    if path.suffix not in (".md", ".csv"):
        raise ValueError(f"the table's file is {str(path)!r}. Expected .md or .csv.")
    text = csv_table(runs, corner) if path.suffix == ".csv" else markdown_table(runs, corner) + "\n"
    write_file(path, text)


def _domains(runs: Runs) -> list[str]:
    """Return the domains of all runs, the mean last."""
    found = dict.fromkeys(name for rows in runs.values() for row in rows for name in row)
    return [*(name for name in found if name != MEAN), *([MEAN] if MEAN in found else [])]


def _mean_and_spread(
    rows: Sequence[Mapping[str, float]], domain: str
) -> tuple[float | None, float | None]:
    """Return the mean and, of several values, the standard deviation of a sample."""
    values = [row[domain] for row in rows if domain in row]
    if not values:
        return None, None
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None
