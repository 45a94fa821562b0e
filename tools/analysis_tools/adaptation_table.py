"""Put the figures of several runs side by side: a row for each method, a column for each domain.

python tools/analysis_tools/adaptation_table.py "source only=work_dirs/a" BDL=work_dirs/b --out t.md

A run is NAME=PATH, where PATH is a json file with figures of UDAIoUMetric, as tools/test.py and the
stages of a schedule write it, or a work directory, whose newest such file is read. Runs of the same
name are seeds of one method: their mean and standard deviation are shown.
"""

import argparse
import json
import sys
from pathlib import Path

from mmext.segmentation.domain_tables import (
    csv_table,
    domain_figures,
    markdown_table,
    write_domain_table,
)


def read_figures(path: Path, key: str) -> dict[str, float]:
    """Return the figure of each domain from the newest file of a run.

    Args:
        path: A json file, or a folder of them.
        key: Which figure.

    Raises:
        ValueError: No file has such a figure.
    """
    files = [path]
    if path.is_dir():
        files = sorted(path.rglob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files:
        try:
            figures = json.loads(file.read_text())
        except (OSError, ValueError):
            continue
        if isinstance(figures, dict) and any(k.rpartition("/")[2] == key for k in figures):
            return domain_figures(figures, key)
    raise ValueError(
        f"{path} has no json file with {key}. Give the work directory of a tools/test.py, the "
        "figures.json of a schedule's stage, or another figure by --figure."
    )


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", metavar="NAME=PATH", help="a run of a method")
    parser.add_argument("--figure", default="mIoU", help="such as mIoU16")
    parser.add_argument("--csv", action="store_true", help="print csv in place of markdown")
    parser.add_argument("--out", type=Path, help="file to write as well, .md or .csv")
    return parser.parse_args()


def main() -> None:
    """Print and write the table."""
    args = parse_args()
    runs: dict[str, list[dict[str, float]]] = {}
    try:
        for run in args.runs:
            name, separator, path = run.rpartition("=")
            if not separator or not name:
                raise ValueError(f"{run!r} is no run. Expected NAME=PATH.")
            runs.setdefault(name, []).append(read_figures(Path(path), args.figure))
        if args.out is not None:
            write_domain_table(args.out, runs)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(csv_table(runs) if args.csv else markdown_table(runs))


if __name__ == "__main__":
    main()
