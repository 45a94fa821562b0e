"""The official Group-Free-3D: its parameters by name, its scenes, and its network in ours."""

import gzip
import json
import zlib
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from mmengine.structures import InstanceData

from mmext.checkpoints.group_free3d import convert_group_free3d
from mmext.detection3d import GroupFree3D
from mmext.detection3d.structures import Boxes3D, Det3DSample

DATA = Path(__file__).parent / "data" / "points3d"
# What differs between the two published forms.
FORMS = {
    "scannet": dict(num_classes=18),
    "sunrgbd": dict(
        num_classes=10,
        num_heading_bins=12,
        loss=dict(
            type="mmext.GroupFree3DLoss",
            seed_weight=0.2,
            objectness_weight=0.4,
            center_delta=1 / 9,
            size_delta=0.0625,
            heading_delta=0.04,
        ),
    ),
}
NO_PREPROCESSOR = dict(type="BaseDataPreprocessor")


@cache
def golden() -> MappingProxyType:
    """Return a part of what the official ScanNet form computed."""
    with np.load(DATA / "group_free3d.npz") as file:
        return MappingProxyType(dict(file))


def official_names(form: str) -> dict:
    """Names and shapes of ``scannet`` or ``sunrgbd``: state_dict, named_parameters, shared."""
    return json.loads(gzip.decompress((DATA / "gf3d_official.json.gz").read_bytes()))[form]


def parameter(name: str, shape: tuple[int, ...], rule: str) -> torch.Tensor:
    """Return the tensor with which the official code was run, by rule ``fan`` or ``002``."""
    value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    fan = rule == "fan" and len(shape) > 1
    value = value * (np.sqrt(2 / np.prod(shape[1:])) if fan else 0.02)
    if len(shape) == 1 and name.endswith("weight"):
        value = value + 1
    return torch.from_numpy(value)


def official_tensors(form: str, rule: str = "fan") -> dict[str, torch.Tensor]:
    """Return the official state dict, with aliases."""
    names = official_names(form)
    tensors = {}
    for name, shape in names["state_dict"].items():
        leaf = name.rsplit(".", 1)[-1]
        if leaf == "num_batches_tracked":
            tensors[name] = torch.tensor(0)
        elif leaf in ("running_mean", "running_var"):
            tensors[name] = torch.full(tuple(shape), float(leaf == "running_var")).double()
        else:
            tensors[name] = parameter(names["shared"].get(name, name), tuple(shape), rule)
    return tensors


def golden_model(form: str, rule: str, kind: type = GroupFree3D, **options) -> GroupFree3D:
    """Return the network of the reference files in double precision, with its parameters."""
    model = kind(
        **{
            **FORMS[form],
            "mean_sizes": golden()["mean_sizes"].tolist() if form == "scannet" else None,
            "backbone": dict(type="mmext.PointNet2"),
            "num_candidates": 64,
            "decoder": dict(num_layers=2, dropout=0.0),
            "data_preprocessor": NO_PREPROCESSOR,
            **options,
        }
    ).double()
    state_dict = convert_group_free3d(official_tensors(form, rule)).state_dict
    model.load_state_dict(state_dict, strict=kind is GroupFree3D)
    return model


def sample(boxes: np.ndarray, labels: np.ndarray, instances: np.ndarray) -> Det3DSample:
    """Return the ground truth of a scene; boxes are (G, 7)."""
    made = Det3DSample()
    made.gt_instances_3d = InstanceData(
        bboxes_3d=Boxes3D(torch.from_numpy(boxes)), labels_3d=torch.from_numpy(labels).long()
    )
    made.gt_point_instances = torch.from_numpy(instances).long()
    return made


def golden_scenes() -> tuple[torch.Tensor, list[Det3DSample]]:
    """Return points and ground truth of the two scenes."""
    data = golden()
    boxes = np.concatenate((data["boxes"], np.zeros((2, 5, 1))), -1)
    scenes = zip(boxes, data["labels"], data["instances"], strict=True)
    return torch.from_numpy(data["points"]), [sample(*scene) for scene in scenes]
