"""Active learning around any mmdet detector: pool, loop, acquisitions, labels by people, reports.

Importing this package registers the loop and the acquisitions.
"""

from . import acquisitions
from .loop import ActiveLearningLoop
from .pool import Pool

__all__ = ["ActiveLearningLoop", "Pool", "acquisitions"]
