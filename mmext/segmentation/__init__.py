"""Semantic segmentation and its adaptation; importing this package registers its parts."""

from mmext.engine import import_host

import_host("mmseg")  # silences a misleading line that it prints

from . import adaptation, datasets  # noqa: E402
from .metrics import UDAIoUMetric  # noqa: E402

__all__ = ["UDAIoUMetric", "adaptation", "datasets"]
