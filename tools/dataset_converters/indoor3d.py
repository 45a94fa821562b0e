"""Write an info file (version 2) for ScanNet V2 or SUN RGB-D out of other forms of annotations.

    python tools/dataset_converters/indoor3d.py scannet data/scannet/scannet_train_detection_data \
        data/scannet/train.pkl --scenes data/scannet/meta_data/scannetv2_train.txt
    python tools/dataset_converters/indoor3d.py sunrgbd old_infos.pkl new_infos.pkl --clockwise

The source is a folder that VoteNet's preparation wrote, or an info file of mmdet3d's of any
version. Points are not copied: the info file of a folder names the files in it, so the data set
takes ``data_prefix=dict(pts=FOLDER, pts_instance_mask=FOLDER, pts_semantic_mask=FOLDER)``.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from mmext.detection3d.datasets import ScanNetDet3DDataset, SUNRGBDDet3DDataset
from mmext.detection3d.info_files import read_infos, write_infos
from mmext.detection3d.votenet_files import list_scenes, scannet_record, sunrgbd_record

DATASETS = {"scannet": ScanNetDet3DDataset, "sunrgbd": SUNRGBDDet3DDataset}


def read_folder(dataset: str, folder: Path, scenes: str) -> list[dict[str, Any]]:
    """Return the records of VoteNet's files, and print how far it is.

    Args:
        dataset: A key of ``DATASETS``.
        folder: Folder of the files.
        scenes: Text file with the names of the scenes; empty for all.
    """
    meta = DATASETS[dataset].METAINFO
    records = []
    names = list_scenes(str(folder), scenes, DATASETS[dataset].point_suffix)
    for name in names:
        if dataset == "scannet":
            ids = meta["seg_valid_class_ids"]
            records.append(scannet_record(folder, name, meta["classes"], ids))
        else:
            records.append(sunrgbd_record(folder, name, meta["classes"]))
        if len(records) % 200 == 0 or len(records) == len(names):
            print(f"read {len(records)} of {len(names)} scenes", flush=True)
    return records


def by_name(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record whose paths are the names of the files only."""
    return {
        key: Path(value).name if key.endswith("_path") and value is not None else value
        for key, value in record.items()
    }


def main() -> None:
    """Read the source and write the info file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=DATASETS)
    parser.add_argument("source", type=Path, help="folder of VoteNet's files, or an info file")
    parser.add_argument("out", type=Path, help="info file to write")
    parser.add_argument("--scenes", default="", help="text file with the scenes of the folder")
    parser.add_argument(
        "--clockwise", action="store_true", help="turn the sign of the yaws (mmdet3d before 1.0)"
    )
    args = parser.parse_args()
    classes = DATASETS[args.dataset].METAINFO["classes"]
    try:
        if args.source.is_dir():
            records = read_folder(args.dataset, args.source, args.scenes)
        else:
            file = read_infos(str(args.source), classes)
            # Version 1 has paths from the root, version 2 from the folders of data_prefix.
            records = (
                [by_name(record) for record in file.records]
                if file.version == 1
                else (file.records)
            )
        if args.clockwise:
            sign = np.array([1, 1, 1, 1, 1, 1, -1])
            records = [record | dict(boxes=record["boxes"] * sign) for record in records]
        args.out.parent.mkdir(parents=True, exist_ok=True)
        write_infos(args.out, records, classes, args.dataset)
    except (OSError, ValueError) as error:
        sys.exit(f"indoor3d: {error}")
    counts = Counter(name for record in records for name in record["names"])
    print(", ".join(f"{name} {counts[name]}" for name in classes))
    print(f"{len(records)} scenes, {sum(counts.values())} boxes in {args.out}")


if __name__ == "__main__":
    main()
