"""What can be wrong with a data set of indoor scenes, found before training starts."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log

from mmext.engine.preflight import ConfigError, walk
from mmext.ops import points_in_boxes
from mmext.registry import DATASET_CHECKS

from .info_files import InfoError
from .point_files import read_mask, read_points

# Of larger sets, as many scenes are opened, evenly spread; each file is looked for.
MAX_OPENED_SCENES = 20
_EXAMPLES = 3
# How points may have been stored by mistake: what to write, and the columns and signs of that.
_FRAMES = (
    ("the vertical axis is y and points up; write (x, -z, y)", [0, 2, 1], [1, -1, 1]),
    ("y points down, as in a camera's frame; write (x, z, -y)", [0, 2, 1], [1, 1, -1]),
    ("the vertical axis is x; write (y, z, x)", [1, 2, 0], [1, 1, 1]),
)
_OTHER_YAW = np.array([1, 1, 1, 1, 1, 1, -1], np.float32)


@DATASET_CHECKS.register_module(name="IndoorDet3DDataset")
def check_indoor_dataset(*, cfg: Config, dataset_cfg: dict, dataset_class: type, path: str) -> None:
    """Check that files exist and can be read, that points lie in the boxes' frame, and classes.

    Args:
        cfg: The whole config; ``num_classes`` of its model is compared with the classes.
        dataset_cfg: The config of the data set.
        dataset_class: The class that it builds.
        path: The config key of ``dataset_cfg``, for messages.

    Raises:
        ConfigError: Names the file or config key, what was expected and how to mend it.
    """
    options = {key: value for key, value in dataset_cfg.items() if key not in ("type", "pipeline")}
    try:
        dataset = dataset_class(**options, pipeline=[], lazy_init=True)
        entries = dataset.load_data_list()
        _check_all_there(entries, path)
        step = max(1, len(entries) // MAX_OPENED_SCENES)
        aligns = any(
            str(node.get("type", "")).endswith("GlobalAlign")
            for _, node in walk(dataset_cfg.get("pipeline"), "pipeline")
        )
        scenes = [(entry, _open(entry, aligns)) for entry in entries[::step]]
    except (FileNotFoundError, InfoError) as error:
        raise ConfigError(f"{path}: {error}") from error
    _check_classes(cfg, dataset.metainfo["classes"], path)
    _check_frame(scenes, aligns, path)


def _check_all_there(entries: Sequence[dict], path: str) -> None:
    if not entries:
        raise ConfigError(f"{path}: there is no scene. Correct ann_file.")
    files = [
        entry[key]
        for entry in entries
        for key in ("points_path", "instance_mask_path", "semantic_mask_path")
        if entry[key] is not None
    ]
    listed: dict[str, set[str]] = {}
    for folder in {os.path.dirname(file) for file in files}:
        listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
    parts = [(file, *os.path.split(file)) for file in files]
    missing = [file for file, folder, name in parts if name not in listed[folder]]
    if missing:
        raise ConfigError(
            f"{path}: {len(missing)} of {len(files)} files are missing: "
            f"{', '.join(missing[:_EXAMPLES])}{', ...' if len(missing) > _EXAMPLES else ''}. "
            "Correct data_root, data_prefix (the folders pts, pts_instance_mask, "
            "pts_semantic_mask) or the info file."
        )


def _open(entry: dict, aligns: bool) -> np.ndarray:
    """Return the (N, 3) points of a scene in the frame that the pipeline brings them to."""
    points = read_points(entry["points_path"], entry["num_features"])[:, :3].astype(np.float64)
    for key in ("instance_mask_path", "semantic_mask_path"):
        if entry[key] is not None:
            read_mask(entry[key], len(points))
    matrix = entry["axis_align_matrix"]
    if aligns and matrix is not None:
        points = points @ matrix[:3, :3].T + matrix[:3, 3]
    return points


def _check_classes(cfg: Config, classes: Sequence[str], path: str) -> None:
    for key, node in walk(cfg.get("model"), "model"):
        if "num_classes" in node and node["num_classes"] != len(classes):
            raise ConfigError(
                f"{key}.num_classes is {node['num_classes']}, but {path} has {len(classes)} "
                f"classes: {', '.join(classes)}. Set num_classes={len(classes)}, or the classes in "
                "the data set's metainfo."
            )


def _held(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return (G,) how many points lie in each box."""
    inside = points_in_boxes(torch.from_numpy(points), torch.from_numpy(boxes).double())
    return inside.sum(dim=0).numpy()


def _check_frame(scenes: Sequence[tuple[dict, np.ndarray]], aligns: bool, path: str) -> None:
    """Look whether the boxes hold points, and if not, where the points seem to be."""
    labelled = [(entry["boxes"], points) for entry, points in scenes if len(entry["boxes"])]
    extents = np.median([np.ptp(points, axis=0) for _, points in scenes], axis=0)
    if extents[2] > 1.5 * extents[:2].min():
        print_log(
            f"{path}: scenes are {extents[2]:.1f} m high and only {extents[:2].min():.1f} m wide "
            "(medians). z has to be the vertical axis; look at one with "
            "tools/analysis_tools/scene_viewer.py.",
            logger="current",
            level=30,
        )
    if not labelled:
        return
    held = np.concatenate([_held(points, boxes) for boxes, points in labelled])
    total, turned = held.sum(), sum(_held(p, b * _OTHER_YAW).sum() for b, p in labelled)
    if turned > 1.3 * total:
        raise ConfigError(
            f"{path}: the boxes hold {total} points, turned the other way {turned}. Expected yaws "
            "in radians, counter-clockwise seen from above (from +x towards +y); mmdet3d before "
            "1.0 wrote the opposite sign. Write the info file again with "
            "tools/dataset_converters/indoor3d.py --clockwise."
        )
    if (held > 0).mean() >= 0.5:
        return
    matrices = [entry["axis_align_matrix"] for entry, _ in scenes]
    hint = ""
    if not aligns and any(m is not None and not np.allclose(m, np.eye(4)) for m in matrices):
        hint = " The scenes have an axis_align_matrix: add mmext.GlobalAlign to the pipeline."
    for words, columns, signs in _FRAMES:
        moved = sum(_held(p[:, columns] * signs, b).sum() for b, p in labelled)
        if moved > 2 * total + 10 * len(labelled):
            hint = f" In the file {words}."
    raise ConfigError(
        f"{path}: {(held == 0).sum()} of {len(held)} boxes have no point inside. Expected points "
        "and boxes in metres in one frame with z up, boxes by gravity centre and full sizes."
        f"{hint}"
    )
