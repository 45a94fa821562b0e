"""2-D detectors; importing this package registers them."""

from .coco_check import check_coco_dataset

__all__ = ["check_coco_dataset"]
