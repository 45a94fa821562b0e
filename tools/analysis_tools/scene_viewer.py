"""Draw scenes of an indoor data set: points, true boxes, and predicted ones if there are any.

    python tools/analysis_tools/scene_viewer.py configs/_base_/datasets/rooms.py --out shown
    python tools/test.py CONFIG CHECKPOINT --out predictions.pkl
    python tools/analysis_tools/scene_viewer.py CONFIG --predictions predictions.pkl \
        --format html --out shown

A .png or .html file per scene; pages need ``pip install plotly``, turn in any browser and need no
network. Green boxes are the true ones; predicted boxes have a colour per class, which the points in
boxes have too, unless the pipeline loads their own colours.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmext.detection3d.average_precision import to_numpy, to_tensor
from mmext.detection3d.structures import Boxes3D, Det3DSample
from mmext.detection3d.viewer import BoxSet, color_by_class, write_picture
from mmext.leaderboards.predictions import read_samples
from mmext.registry import DATASETS


def predicted(sample: dict) -> tuple[str, BoxSet]:
    """Return name and predicted boxes of a sample that ``tools/test.py --out`` wrote."""
    found = sample["pred_instances_3d"]
    boxes = found["bboxes_3d"]
    boxes = to_tensor(boxes.tensor if isinstance(boxes, Boxes3D) else boxes)
    labels, scores = to_numpy(found["labels_3d"]), to_numpy(found["scores_3d"])
    return str(sample["sample_idx"]), BoxSet(Boxes3D(boxes), labels, scores)


def true_boxes(sample: Det3DSample) -> BoxSet | None:
    """Return the true boxes of a sample, if it has any."""
    if "gt_instances_3d" not in sample:
        return None
    truth = sample.gt_instances_3d
    return BoxSet(truth.bboxes_3d, truth.labels_3d.numpy())


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="config with the data set")
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--predictions", type=Path, help="what tools/test.py --out wrote")
    parser.add_argument("--scenes", nargs="+", help="names of scenes; default: the first ones")
    parser.add_argument("--count", type=int, default=4, help="how many of the first scenes")
    parser.add_argument("--format", default="png", choices=("png", "html"))
    parser.add_argument("--score-thr", type=float, default=0.3, help="least score that is drawn")
    parser.add_argument("--max-boxes", type=int, default=40, help="most predicted boxes per scene")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--data-root", help="replaces that of the config")
    return parser.parse_args()


def main() -> None:
    """Read the scenes and draw them."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    init_default_scope(cfg.get("default_scope", "mmengine"))
    dataset_cfg = cfg[f"{args.split}_dataloader"].dataset
    if args.data_root is not None:
        dataset_cfg.data_root = args.data_root
    try:
        dataset = DATASETS.build(dataset_cfg)
        found = dict(read_samples(args.predictions, predicted)) if args.predictions else {}
        names = [dataset.get_data_info(index)["scene"] for index in range(len(dataset))]
        chosen = args.scenes or names[: args.count]
        unknown = sorted(set(chosen) - set(names))
        if unknown:
            raise ValueError(f"no scene {unknown}; there are such as {names[:3]}")
        for name in chosen:
            item = dataset[names.index(name)]
            boxes, truth = found.get(name), true_boxes(item["data_samples"])
            boxes = None if boxes is None else boxes.best(args.max_boxes, args.score_thr)
            points = np.asarray(item["inputs"]["points"])
            colored_by = truth if boxes is None else boxes
            if points.shape[1] < 6 and colored_by is not None:
                points = color_by_class(points, colored_by)
            path = args.out / f"{name}.{args.format}"
            write_picture(
                path,
                points,
                dataset.metainfo["classes"],
                truth,
                boxes,
                title=name,
            )
            print(path)
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f"scene_viewer: {error}")


if __name__ == "__main__":
    main()
