"""Draw how each Gaussian box loss grows with the error of a box, beside 1 - IoU.

Usage: ``python tools/analysis_tools/plot_rotated_losses.py [--out docs/images/rotated_losses.png]``

Five panels: a shift of the centre, a wrong angle, a wrong width, the same wrong angle for boxes of
more and more extreme shape, and the same shift for larger and larger boxes. Every loss is
``1 - 1 / (1 + log1p(D))``, which is 0 for equal boxes and 1 at most; KFIoU is ``1 - 3 K``.
"""

import argparse
from pathlib import Path

import matplotlib

from mmext.files import replacing

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from mmcv.ops import box_iou_rotated
from torch import Tensor

from mmext.rotated import gaussian_distance_loss

STEPS = 121
WIDTH, HEIGHT = 60.0, 20.0

# Name, options, colour and line of each curve; relatives share a colour.
CURVES = (
    ("gwd", dict(kind="gwd"), "tab:orange", "-"),
    ("gwd, normalized", dict(kind="gwd", normalize=True), "tab:orange", "--"),
    ("kld", dict(kind="kld"), "tab:blue", "-"),
    ("kld_pt", dict(kind="kld_pt"), "tab:blue", "--"),
    ("kld_min", dict(kind="kld_min"), "tab:cyan", "-."),
    ("kld_max", dict(kind="kld_max"), "tab:cyan", ":"),
    ("jeffreys", dict(kind="jeffreys"), "tab:purple", "-"),
    ("bcd", dict(kind="bcd"), "tab:green", "-"),
    ("js", dict(kind="js"), "tab:green", "--"),
    ("probiou", dict(kind="probiou"), "tab:olive", "-"),
    ("kfiou", dict(kind="kfiou", fun="one_minus", tau=0.0), "tab:red", "-"),
)
Pairs = tuple[Tensor, Tensor]


def boxes(**columns: Tensor) -> Tensor:
    """Return (STEPS, 5) boxes of 60 x 20 px, with some columns given."""
    standard = dict(x=0.0, y=0.0, w=WIDTH, h=HEIGHT, angle=0.0)
    return torch.stack(
        [torch.as_tensor(columns.get(k, v)).double().expand(STEPS) for k, v in standard.items()], 1
    )


def shifted(shift: Tensor) -> Pairs:
    """Predictions beside their targets, by ``shift`` widths along the long side."""
    return boxes(x=shift * WIDTH), boxes()


def turned(degrees: Tensor) -> Pairs:
    """Predictions turned against their targets."""
    return boxes(angle=degrees.deg2rad()), boxes()


def widened(factor: Tensor) -> Pairs:
    """Predictions narrower or wider than their targets."""
    return boxes(w=factor * WIDTH), boxes()


def stretched(aspect: Tensor) -> Pairs:
    """Predictions turned by 10 degrees, of equal area and several aspect ratios."""
    sides = dict(w=(WIDTH * HEIGHT * aspect).sqrt(), h=(WIDTH * HEIGHT / aspect).sqrt())
    return boxes(angle=torch.tensor(10.0).deg2rad(), **sides), boxes(**sides)


def enlarged(width: Tensor) -> Pairs:
    """Predictions shifted by a tenth of their width, of several widths."""
    sides = dict(w=width, h=width * HEIGHT / WIDTH)
    return boxes(x=width / 10, **sides), boxes(**sides)


PANELS = (
    ("60 x 20 px, shifted along the long side", "shift / width", 0.0, 1.2, shifted, False),
    ("60 x 20 px, turned", "angle in degrees", 0.0, 90.0, turned, False),
    ("60 x 20 px, of another width", "width / target's width", 0.2, 5.0, widened, True),
    ("1200 px², turned by 10 degrees", "aspect ratio", 1.0, 20.0, stretched, True),
    ("aspect 3, shifted by a tenth", "width in pixels", 2.0, 500.0, enlarged, True),
)


def draw(axes: Axes, title: str, label: str, low: float, high: float, logarithmic: bool) -> Tensor:
    """Set up a panel and return the abscissae."""
    axes.set(title=title, xlabel=label, xlim=(low, high), ylim=(0, 1))
    axes.title.set_fontsize(10)
    axes.spines[["top", "right"]].set_visible(False)
    if not logarithmic:
        return torch.linspace(low, high, STEPS).double()
    axes.set_xscale("log")
    ticks = [tick for tick in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    return torch.logspace(*torch.tensor([low, high]).log10().tolist(), STEPS).double()


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images/rotated_losses.png"))
    out = parser.parse_args().out
    figure, panels = plt.subplots(2, 3, figsize=(11, 6.2), sharey=True, layout="constrained")
    for axes, (title, label, low, high, pairs, logarithmic) in zip(
        panels.flat[: len(PANELS)], PANELS, strict=True
    ):
        x = draw(axes, title, label, low, high, logarithmic)
        pred, target = pairs(x)
        for name, options, colour, line in CURVES:
            loss = gaussian_distance_loss(pred, target, reduction="none", **options)
            loss = 3 * loss - 2 if name == "kfiou" else loss
            axes.plot(x, loss, color=colour, linestyle=line, linewidth=1.4, label=name)
        iou = box_iou_rotated(pred.float(), target.float(), aligned=True)
        axes.plot(x, 1 - iou, color="black", linewidth=0.9, label="1 - IoU")
    panels[1, 2].axis("off")
    panels[1, 2].legend(*panels[0, 0].get_legend_handles_labels(), loc="center", frameon=False)
    with replacing(out) as part:
        figure.savefig(part, dpi=72, pil_kwargs=dict(optimize=True))
    print(f"figure: {out}")


if __name__ == "__main__":
    main()
