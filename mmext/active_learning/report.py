"""Curves of several campaigns: what training gains and what selection gains, over seeds."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from .pool import Pool

Curve = Mapping[int, Mapping[int, float]]
"""By number of labelled images, the figure (or the count of boxes) of each seed."""
Curves = Mapping[tuple[str, str], Curve]
"""By training and acquisition, a curve."""


@dataclass(frozen=True)
class Run:
    """A campaign as the report sees it.

    Attributes:
        training: What is trained: the head and its phases.
        acquisition: What selects.
        seed: Seed.
        figures: The metric by number of labelled images.
        boxes: How many boxes these images have.
    """

    training: str
    acquisition: str
    seed: int
    figures: Mapping[int, float]
    boxes: Mapping[int, int]


def read_run(folder: Path, metric: str | None = None) -> tuple[Run, str]:
    """Read a campaign.

    Args:
        folder: Its work directory.
        metric: Name of the metric; None: the first that was measured.

    Returns:
        The run and the name of the metric.

    Raises:
        ValueError: It has no finished cycle, or not this metric.
    """
    pool = Pool.load(folder)
    measured = [entry for entry in pool.history if entry["metrics"]]
    names = list(dict.fromkeys(name for entry in measured for name in entry["metrics"]))
    if not names or (metric is not None and metric not in names):
        raise ValueError(
            f"{folder} has {'no figures yet' if not names else f'not the metric {metric!r}'}. "
            f"Expected a campaign with finished cycles{f'; it has {names}' if names else ''}."
        )
    metric = metric or names[0]
    measured = [entry for entry in measured if metric in entry["metrics"]]
    figures = {entry["labeled"]: entry["metrics"][metric] for entry in measured}
    boxes = {entry["labeled"]: entry["boxes"] for entry in measured}
    recipe = pool.recipe
    return Run(_training(recipe), _acquisition(recipe), pool.seed, figures, boxes), metric


def _training(recipe: Mapping) -> str:
    phases = len(recipe["phases"])
    warm = "" if recipe["reinit"] else ", warm start"
    model = recipe["model"].removeprefix("mmext.")
    return f"{model}{f', {phases} phases' if phases > 1 else ''}{warm}"


def _acquisition(recipe: Mapping) -> str:
    settings = dict(recipe["acquisition"])
    name = settings.pop("type").removeprefix("mmext.")
    return name + (f" ({', '.join(f'{k}={v}' for k, v in settings.items())})" if settings else "")


def group(runs: Iterable[Run]) -> tuple[Curves, Curves]:
    """Group runs by training and acquisition.

    Returns:
        The curves of the metric, and the counts of boxes in the same form.

    Raises:
        ValueError: Two runs have the same training, acquisition and seed.
    """
    figures: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
    boxes: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
    for run in runs:
        key = run.training, run.acquisition
        for labeled, figure in run.figures.items():
            seeds = figures.setdefault(key, {}).setdefault(labeled, {})
            if run.seed in seeds:
                raise ValueError(
                    f"two campaigns are {run.training}, {run.acquisition}, seed {run.seed}. Give "
                    "each campaign once, and another randomness.seed to repetitions."
                )
            seeds[run.seed] = figure
            boxes.setdefault(key, {}).setdefault(labeled, {})[run.seed] = run.boxes[labeled]
    return figures, boxes


def difference(ours: Curve, theirs: Curve) -> Curve:
    """Return what one curve gains over another, seed by seed where both have a figure."""
    both = {
        labeled: {s: f - theirs[labeled][s] for s, f in seeds.items() if s in theirs[labeled]}
        for labeled, seeds in ours.items()
        if labeled in theirs
    }
    return {labeled: seeds for labeled, seeds in both.items() if seeds}


def gains(curves: Curves) -> list[tuple[str, str, Curve]]:
    """Separate what training gains from what selection gains.

    Args:
        curves: Of :func:`group`.

    Returns:
        Rows (what gains, by which comparison, differences): each training against the first one,
        both with random selection; each acquisition against random selection, of one training.
    """
    trainings = list(dict.fromkeys(training for training, _ in curves))
    random = {training: curves.get((training, "Random")) for training in trainings}
    rows: list[tuple[str, str, Curve]] = []
    first = random[trainings[0]]
    for training in trainings[1:]:
        if first is not None and random[training] is not None:
            row = difference(random[training], first)
            rows.append(("training", f"{training} - {trainings[0]}, Random", row))
    for (training, acquisition), curve in curves.items():
        base = random[training]
        if acquisition != "Random" and base is not None:
            rows.append(
                ("selection", f"{training}: {acquisition} - Random", difference(curve, base))
            )
    return rows


def spread(figures: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation, which is 0 for one figure."""
    return mean(figures), stdev(figures) if len(figures) > 1 else 0.0


def markdown(curves: Curves, boxes: Curves, metric: str) -> str:
    """Return the tables: figures in points (hundredths), boxes, then what gains what in points."""
    labeled = sorted({count for curve in curves.values() for count in curve})
    head = " | ".join(map(str, labeled))
    lines = [f"`{metric}` in points by labelled images, mean ± standard deviation over seeds.", ""]
    lines += [f"| training | selection | {head} | seeds |", "|---" * (len(labeled) + 3) + "|"]
    for (training, acquisition), curve in curves.items():
        seeds = max(len(figures) for figures in curve.values())
        cells = _cells(curve, labeled, "{:.1f}", 100)
        lines.append(f"| {training} | {acquisition} | {cells} | {seeds} |")
    lines += ["", "Boxes in the labelled images.", ""]
    lines += [f"| training | selection | {head} |", "|---" * (len(labeled) + 2) + "|"]
    for (training, acquisition), curve in boxes.items():
        lines.append(f"| {training} | {acquisition} | {_cells(curve, labeled, '{:.0f}')} |")
    rows = gains(curves)
    if rows:
        lines += ["", "What gains over what, seed by seed; the first row of a training with random"]
        lines += ["selection is what the others are compared with.", ""]
        lines += [f"| gain of | comparison | {head} |", "|---" * (len(labeled) + 2) + "|"]
        for kind, name, row in rows:
            lines.append(f"| {kind} | {name} | {_cells(row, labeled, '{:+.1f}', 100)} |")
    return "\n".join(lines) + "\n"


def _cells(curve: Curve, labeled: Sequence[int], form: str, scale: int = 1) -> str:
    cells = []
    for count in labeled:
        if count not in curve:
            cells.append("")
            continue
        middle, deviation = spread(list(curve[count].values()))
        deviation = form.format(scale * deviation).lstrip("+")
        band = f" ± {deviation}" if len(curve[count]) > 1 else ""
        cells.append(form.format(scale * middle) + band)
    return " | ".join(cells)


def table(curves: Curves, boxes: Curves) -> str:
    """Return all figures as csv: training, selection, labeled, boxes, seed, figure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["training", "selection", "labeled", "boxes", "seed", "figure"])
    for (training, acquisition), curve in curves.items():
        for labeled, seeds in sorted(curve.items()):
            for seed, figure in sorted(seeds.items()):
                count = boxes[training, acquisition][labeled][seed]
                writer.writerow([training, acquisition, labeled, count, seed, figure])
    return text.getvalue()
