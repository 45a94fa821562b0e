"""Active learning around any mmdet detector: pool, loop, acquisitions, labels by people, reports.

Importing this package registers the loop, the acquisitions and the detector that predicts losses.
"""

from . import acquisitions
from .loop import ActiveLearningLoop
from .loss_prediction import LearningLossDetector
from .pool import Pool

__all__ = ["ActiveLearningLoop", "LearningLossDetector", "Pool", "acquisitions"]
