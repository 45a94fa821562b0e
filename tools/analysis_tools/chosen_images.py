"""Show what campaigns of active learning chose to label: a row of images per campaign.

    python tools/analysis_tools/chosen_images.py work_dirs/random_0 work_dirs/miaod_0 \
        --cycle 1 --images 10 --out chosen.jpg

Drawn are images whose labels are new in a cycle, with their boxes, evenly spaced from the highest
score to the lowest where the acquisition gives scores. Run it where the campaign was run: its
config in the work directory names the data.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmext.active_learning import Pool
from mmext.active_learning.data import PoolSource
from mmext.active_learning.report import read_run
from mmext.engine import import_host
from mmext.files import replacing


@dataclass(frozen=True)
class Choice:
    """What a campaign chose in a cycle.

    Attributes:
        title: Selection, training, and how many images and boxes.
        shown: What the data set knows of the images to draw.
        scores: Their scores; None where there are none.
    """

    title: str
    shown: list[dict]
    scores: list[float | None]


def read_choice(folder: Path, cycle: int, images: int) -> Choice:
    """Read what a campaign chose.

    Args:
        folder: Its work directory.
        cycle: In which cycle the labels are new.
        images: How many to draw at most.

    Raises:
        ValueError: The campaign has no such cycle, or its config is not in the folder.
    """
    run, _ = read_run(folder)
    pool = Pool.load(folder)
    if not 0 <= cycle < len(pool.cycles):
        raise ValueError(f"--cycle {cycle}: {folder} has cycles 0 to {len(pool.cycles) - 1}.")
    configs = sorted(folder.glob("*.py"))
    if len(configs) != 1:
        raise ValueError(f"{folder} has {len(configs)} configs: expected one, the campaign's.")
    cfg = Config.fromfile(configs[0])
    init_default_scope(cfg.get("default_scope", "mmengine"))
    import_host("mmdet")
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    dataset.full_init()
    source = PoolSource(dataset)
    scores = pool.history[cycle - 1].get("scores", {}) if cycle else {}
    order = sorted(pool.cycles[cycle], key=lambda image: (-scores.get(image, 0.0), image))
    infos = {image: source.info(image) for image in order}
    boxes = sum(len(info["instances"]) for info in infos.values())
    places = np.linspace(0, len(order) - 1, min(images, len(order))).round().astype(int)
    shown = [order[place] for place in places]
    return Choice(
        f"{run.acquisition} | {run.training}: {len(order)} images, {boxes} boxes",
        [infos[image] for image in shown],
        [scores.get(image) for image in shown],
    )


def draw_image(axes: Axes, info: dict, score: float | None) -> None:
    """Draw an image with its boxes, and its score below."""
    image = cv2.imread(info["img_path"])[..., ::-1]
    axes.imshow(image, extent=(0, image.shape[1], image.shape[0], 0))  # pixels begin at their edge
    for instance in info["instances"]:
        left, top, right, bottom = instance["bbox"]
        box = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="#ffe14d")
        axes.add_patch(box)
    if score is not None:
        axes.set_title(f"{score:.3g}", y=-0.17, fontsize=8)


def draw(choices: list[Choice], out: Path) -> None:
    """Draw a row per campaign."""
    columns = max(len(choice.shown) for choice in choices)
    figure = plt.figure(figsize=(1.1 * columns, 1.55 * len(choices)), layout="constrained")
    for part, choice in zip(
        np.atleast_1d(figure.subfigures(len(choices), 1)), choices, strict=True
    ):
        part.suptitle(choice.title, fontsize=9, x=0.01, ha="left")
        row = part.subplots(1, columns, squeeze=False)[0]
        for axes in row:
            axes.set_axis_off()
        for axes, info, score in zip(row, choice.shown, choice.scores, strict=False):
            draw_image(axes, info, score)
    with replacing(out) as part_file:
        figure.savefig(part_file, dpi=110)
    plt.close(figure)


def main() -> None:
    """Read the campaigns and draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("campaigns", nargs="+", type=Path, help="work directories")
    parser.add_argument("--cycle", type=int, default=1, help="whose new labels; default: 1")
    parser.add_argument("--images", type=int, default=10, help="how many of each to draw")
    parser.add_argument("--out", type=Path, required=True, help="png or jpg to write")
    args = parser.parse_args()
    try:
        choices = [read_choice(folder, args.cycle, args.images) for folder in args.campaigns]
    except (OSError, ValueError) as error:
        sys.exit(f"chosen_images: {error}")
    draw(choices, args.out)
    print(f"chosen images: {args.out}")


if __name__ == "__main__":
    main()
