"""Indoor 3-D detection; importing this package registers its parts."""

from .augmentation import AppendHeight, GlobalRotScale, PointSample, RandomFlip3D
from .datasets import IndoorDet3DDataset, ScanNetDet3DDataset, SUNRGBDDet3DDataset
from .group_free3d import GroupFree3D, GroupFree3DLoss, PointNet2
from .hyperdet3d import HyperDet3D
from .info_files import InfoError
from .loading import (
    AssignPointInstances,
    GlobalAlign,
    LoadIndoorAnnotations,
    LoadPoints,
    PointSegMap,
)
from .metrics import IndoorMetric
from .packing import PackIndoorInputs, PointsPreprocessor
from .scene_check import check_indoor_dataset
from .visualization import SceneVisualizationHook

__all__ = [
    "AppendHeight",
    "AssignPointInstances",
    "GlobalAlign",
    "GlobalRotScale",
    "GroupFree3D",
    "GroupFree3DLoss",
    "HyperDet3D",
    "IndoorDet3DDataset",
    "IndoorMetric",
    "InfoError",
    "LoadIndoorAnnotations",
    "LoadPoints",
    "PackIndoorInputs",
    "PointNet2",
    "PointSample",
    "PointSegMap",
    "PointsPreprocessor",
    "RandomFlip3D",
    "SUNRGBDDet3DDataset",
    "ScanNetDet3DDataset",
    "SceneVisualizationHook",
    "check_indoor_dataset",
]
