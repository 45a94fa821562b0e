"""Draw the curves of a training run: losses, learning rate and validation scores, as one png.

Usage: ``python tools/analysis_tools/plot_curves.py WORK_DIR [--out curves.png]``, where WORK_DIR is
that of ``tools/train.py``; its newest run is drawn.
"""

import argparse
import json
from pathlib import Path

import matplotlib

from mmext.files import replacing

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

SCORES = ("bbox_mAP_50", "bbox_mAP")


def read_scalars(work_dir: Path) -> tuple[list[dict], list[dict]]:
    """Read the scalars of the newest run below ``work_dir``.

    Args:
        work_dir: Work directory of a training run.

    Returns:
        Training records (those with a loss) and validation records (those without).

    Raises:
        FileNotFoundError: There is none.
    """
    found = sorted(work_dir.glob("*/vis_data/scalars.json"))
    if not found:
        raise FileNotFoundError(
            f"{work_dir} holds no */vis_data/scalars.json. Give the work directory of a training "
            "run whose visualizer has a LocalVisBackend."
        )
    records = [json.loads(line) for line in found[-1].read_text().splitlines()]
    return [r for r in records if "loss" in r], [r for r in records if "loss" not in r]


def draw_losses(axes: Axes, records: list[dict]) -> None:
    """Draw the total loss and its parts over the iterations, in log scale."""
    steps = [record["step"] for record in records]
    parts = [key for key in records[0] if key.startswith("loss")]
    for key in parts:
        total = key == "loss"
        values = [record[key] for record in records]
        name = "all" if total else key.removeprefix("loss_")
        colour = "black" if total else None
        (line,) = axes.plot(steps, values, color=colour, linewidth=1.8 if total else 1.2)
        label = dict(color=line.get_color(), va="center", fontsize=8)
        axes.annotate(name, (steps[-1], values[-1]), (4, 0), textcoords="offset points", **label)
    axes.set(title="losses", xlabel="iteration", yscale="log")
    axes.margins(x=0.12)


def draw_scores(axes: Axes, records: list[dict]) -> None:
    """Draw the COCO scores of the validations."""
    # A validation without detections has no scores.
    keys = dict.fromkeys(key for record in records for key in record if key.endswith(SCORES))
    for key in keys:
        steps = [record["step"] for record in records if key in record]
        values = [record[key] for record in records if key in record]
        name = key.replace("bbox_mAP_50", "AP50").replace("bbox_mAP", "AP").removeprefix("coco/")
        axes.plot(steps, values, marker="o", label=name)
        label = dict(textcoords="offset points", ha="right", fontsize=8)
        axes.annotate(f"{values[-1]:.3f}", (steps[-1], values[-1]), (0, 5), **label)
    axes.set(title="validation", xlabel="iteration")
    axes.set_ylim(bottom=0)
    axes.margins(y=0.15)
    if keys:
        axes.legend(frameon=False, fontsize=8)


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--out", type=Path, help="png to write, WORK_DIR/curves.png if not given")
    args = parser.parse_args()
    out = args.out or args.work_dir / "curves.png"
    training, validation = read_scalars(args.work_dir)
    figure, axes = plt.subplots(
        1, 3 if validation else 2, figsize=(12 if validation else 8, 3.2), layout="constrained"
    )
    draw_losses(axes[0], training)
    steps = [record["step"] for record in training]
    axes[1].plot(steps, [record["base_lr"] for record in training], color="tab:gray")
    axes[1].set(title="learning rate", xlabel="iteration")
    if validation:
        draw_scores(axes[2], validation)
    for panel in axes:
        panel.spines[["top", "right"]].set_visible(False)
    with replacing(out) as part:
        figure.savefig(part, dpi=110)
    print(f"curves: {out}")


if __name__ == "__main__":
    main()
