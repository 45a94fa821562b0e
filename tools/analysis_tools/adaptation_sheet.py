"""Show what an adaptation does: predictions on images of the target before and after.

    python tools/analysis_tools/adaptation_sheet.py CONFIG WORK_DIR/k2-i1-segmentor/iter_400.pth \
        --before SOURCE_ONLY/iter_400.pth --translated WORK_DIR/k2-translate/images

A row per image, evenly spread over the test set, of all its domains: the image, both predictions,
the ground truth. With ``--translated`` images of the source and their translations are left of it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from torch import nn

import mmext  # noqa: F401  (lets configs inherit from 'mmext::...' and 'mmseg::...')
from mmext.engine import import_host
from mmext.files import write_file
from mmext.segmentation.adaptation.stage_configs import domain_names
from mmext.segmentation.datasets.pseudo import image_info, png_name, unlabelled

SOURCE_TITLES = ("source", "translated")
TITLES = ("target", "before", "after", "ground truth")
LABELS = 3  # columns of labels, the last ones
GAP, CAPTION = 4, 18  # pixels


def spread(count: int, rows: int) -> list[int]:
    """Return indices that are evenly spread over ``count`` items."""
    return [(2 * row + 1) * count // (2 * rows) for row in range(rows)]


def load_model(cfg: Config, checkpoint: Path) -> nn.Module:
    """Return a model that predicts; a discriminator that only one side has does not matter."""
    model = MODELS.build(cfg.model)
    load_checkpoint(model, str(checkpoint), map_location="cpu")
    return model.eval()


@torch.no_grad()
def predict(model: nn.Module, item: dict) -> np.ndarray:
    """Return the (H, W) predicted classes of an item of a test set."""
    (sample,) = model.test_step(pseudo_collate([item]))
    return sample.pred_sem_seg.data[0].numpy()


def coloured(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return labels as a (H, W, 3) BGR picture, ignored pixels black."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette[:, ::-1]
    return colours[labels]


def target_pictures(cfg: Config, args: argparse.Namespace) -> list[list[np.ndarray]]:
    """Return the pictures of each row in the order of ``TITLES``, (H, W, 3) uint8 BGR."""
    tested = DATASETS.build(cfg.test_dataloader.dataset)
    palette = np.array(tested.metainfo["palette"], np.uint8)
    earlier = Config.fromfile(args.before_config) if args.before_config else cfg
    models = load_model(earlier, args.before), load_model(cfg, args.checkpoint)
    rows = []
    for index in spread(len(tested), args.rows):
        item = tested[index]
        labels = [predict(model, item) for model in models]
        labels.append(item["data_samples"].gt_sem_seg.data[0].numpy())
        image = cv2.imread(item["data_samples"].img_path)
        rows.append([image, *(coloured(label, palette) for label in labels)])
    return rows


def source_pictures(cfg: Config, args: argparse.Namespace) -> list[list[np.ndarray]]:
    """Return the pictures of each row in the order of ``SOURCE_TITLES``, (H, W, 3) uint8 BGR."""
    source, _ = domain_names(cfg)
    images = unlabelled(cfg.train_dataloader.dataset.sources[source], "the source")
    rows = []
    for index in spread(len(images), args.rows):
        path = image_info(images, index)["img_path"]
        translated = args.translated / png_name(path, images.data_prefix["img_path"])
        rows.append([cv2.imread(path), cv2.imread(str(translated))])
    return rows


def compose(rows: list[list[np.ndarray]], titles: Sequence[str], width: int) -> np.ndarray:
    """Return the sheet: all pictures ``width`` pixels wide, titles above."""
    image = rows[0][-LABELS - 1]
    height = round(width * image.shape[0] / image.shape[1])
    line = np.full((CAPTION, len(titles) * (width + GAP) - GAP, 3), 255, np.uint8)
    for column, title in enumerate(titles):
        place = (column * (width + GAP) + 2, CAPTION - 5)
        cv2.putText(line, title, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    lines = [line]
    for row in rows:
        line = np.full((height + GAP, line.shape[1], 3), 255, np.uint8)
        for column, picture in enumerate(row):
            left = column * (width + GAP)
            # Labels have sharp edges.
            sharp = column >= len(titles) - LABELS
            line[:height, left : left + width] = cv2.resize(
                picture,
                (width, height),
                interpolation=cv2.INTER_NEAREST if sharp else cv2.INTER_AREA,
            )
        lines.append(line)
    return np.vstack(lines)


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config of the adaptation")
    parser.add_argument("checkpoint", type=Path, help="its checkpoint: predictions after")
    parser.add_argument("--before", type=Path, required=True, help="checkpoint without adaptation")
    parser.add_argument("--before-config", help="config of that checkpoint; default: CONFIG")
    parser.add_argument("--translated", type=Path, help="folder of a translate stage")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--width", type=int, default=192, help="of each picture, in pixels")
    parser.add_argument("--out", type=Path, default=Path("adaptation.jpg"))
    args = parser.parse_args()
    cfg, titles = Config.fromfile(args.config), TITLES
    scope = cfg.get("default_scope", "mmseg")
    import_host(scope)
    try:
        with DefaultScope.overwrite_default_scope(scope):
            rows = target_pictures(cfg, args)
            if args.translated:
                titles = SOURCE_TITLES + TITLES
                pairs = zip(source_pictures(cfg, args), rows, strict=True)
                rows = [left + right for left, right in pairs]
            sheet = compose(rows, titles, args.width)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    content = cv2.imencode(args.out.suffix, sheet, [cv2.IMWRITE_JPEG_QUALITY, 88])[1]
    write_file(args.out, content.tobytes())
    print(args.out)


if __name__ == "__main__":
    main()
