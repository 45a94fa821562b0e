"""2-D detectors; importing this package registers them."""

from . import centernet, cpn, mi_aod
from .coco_check import check_coco_dataset
from .coco_subset_metric import CocoSubsetMetric
from .efficientnet_lite import EfficientNetLite
from .false_discovery_metric import FalseDiscoveryMetric

__all__ = [
    "CocoSubsetMetric",
    "EfficientNetLite",
    "FalseDiscoveryMetric",
    "centernet",
    "check_coco_dataset",
    "cpn",
    "mi_aod",
]
