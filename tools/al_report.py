"""Compare campaigns of active learning: tables and curves with bands over seeds.

Usage: ``python tools/al_report.py WORK_DIR... [--metric NAME] [--out DIR]``. Campaigns of the same
training and acquisition are taken together, whatever their seeds. The tables separate what the
training gains (both with random selection) from what the selection gains (with one training); name
the work directories of the plain training first. Written are ``report.md``, ``curves.csv`` and
``curves.png``, by labelled images and by the boxes in them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from mmext.files import write_file

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from mmext.active_learning.report import Curves, group, markdown, read_run, spread, table


def draw(curves: Curves, boxes: Curves, metric: str, path: Path) -> None:
    """Draw each curve with a band of one standard deviation, over images and over boxes.

    Args:
        curves: The metric by training and acquisition.
        boxes: The boxes in the labelled images, likewise.
        metric: Name of the axis.
        path: Image file.
    """
    figure, both = plt.subplots(1, 2, figsize=(10, 5.2), sharey=True, layout="constrained")
    trainings = list(dict.fromkeys(training for training, _ in curves))
    selections = list(dict.fromkeys(selection for _, selection in curves))
    for (training, selection), curve in curves.items():
        labeled = sorted(curve)
        counts = [spread(list(boxes[training, selection][n].values()))[0] for n in labeled]
        spreads = [spread(list(curve[n].values())) for n in labeled]
        middle = [100 * m for m, _ in spreads]
        band = [100 * d for _, d in spreads]
        colour = f"C{selections.index(selection)}"
        style = ("-", "--", ":", "-.")[trainings.index(training) % 4]
        name = selection if len(trainings) == 1 else f"{selection} | {training}"
        low = [m - d for m, d in zip(middle, band, strict=True)]
        high = [m + d for m, d in zip(middle, band, strict=True)]
        for axes, sizes in zip(both, (labeled, counts), strict=True):
            axes.plot(sizes, middle, style, color=colour, marker="o", markersize=3, label=name)
            axes.fill_between(sizes, low, high, color=colour, alpha=0.12, linewidth=0)
    for axes, unit in zip(both, ("labelled images", "boxes in them (mean)"), strict=True):
        axes.set_xlabel(unit)
        axes.grid(alpha=0.3)
    both[0].set_ylabel(f"{metric}, points")
    handles, names = both[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the campaigns and write the report."""
    parser = argparse.ArgumentParser(description="Compare campaigns of active learning")
    parser.add_argument("runs", nargs="+", type=Path, help="work directories")
    parser.add_argument("--metric", help="name of the metric; default: the first measured")
    parser.add_argument("--out", type=Path, default=Path("al_report"), help="folder to write to")
    args = parser.parse_args(arguments)
    metric, runs = args.metric, []
    for folder in args.runs:
        run, metric = read_run(folder, metric)
        runs.append(run)
    curves, boxes = group(runs)
    text = markdown(curves, boxes, metric)
    write_file(args.out / "report.md", text)
    write_file(args.out / "curves.csv", table(curves, boxes))
    draw(curves, boxes, metric, args.out / "curves.png")
    print(text)


if __name__ == "__main__":
    main()
