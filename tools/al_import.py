"""Take labels into a campaign that waits for them.

Usage: ``python tools/al_import.py CONFIG RETURNED.json [--work-dir DIR]``, where CONFIG is that of
the campaign (``train_cfg.oracle=False``) and RETURNED.json a COCO file with every image that it
asked for, as CVAT and Label Studio export it; images that it lists without annotations hold no
objects. The boxes go into the annotation file of ``train_dataloader.dataset``; then
``python tools/train.py CONFIG --resume`` goes on.
"""

import argparse
import os
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from mmext.active_learning import Pool
from mmext.active_learning.data import PoolSource
from mmext.active_learning.labelling import merge_labels
from mmext.engine.cli import add_common_arguments, load_config


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Take labels into a campaign of active learning")
    add_common_arguments(parser)
    parser.add_argument("returned", type=Path, help="COCO json with the labels")
    return parser.parse_args()


def take_in(cfg: Config, returned: Path) -> list[str]:
    """Write returned labels into the pool's annotation file and note that they are there.

    Args:
        cfg: Config of the campaign, with ``work_dir``.
        returned: COCO json with the labels.

    Returns:
        Ids of the images.

    Raises:
        ValueError: No labels are missing, or those that came do not fit.
    """
    pool = Pool.load(cfg.work_dir)
    if not pool.missing_labels():
        raise ValueError(f"the campaign in {cfg.work_dir} waits for no labels: resume it.")
    dataset_cfg = cfg.train_dataloader.dataset
    ann_file = Path(os.path.join(dataset_cfg.get("data_root") or "", dataset_cfg.ann_file))
    images = merge_labels(ann_file, returned, pool)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(dataset_cfg)
        dataset.full_init()
        source = PoolSource(dataset)
    pool.hashes.update({image: source.annotation_hash(image) for image in images})
    pool.save(cfg.work_dir)
    return images


def main() -> None:
    """Take labels in."""
    args = parse_args()
    cfg = load_config(args)
    images = take_in(cfg, args.returned)
    print(f"{len(images)} images are labelled now. Go on: tools/train.py {args.config} --resume")


if __name__ == "__main__":
    main()
