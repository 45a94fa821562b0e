"""Acquisitions: which images are labelled next."""

from .base import Acquisition, Descriptors, Random, ScoreAcquisition, Selection
from .cdal import CDAL
from .core_set import CoreSet
from .discrepancy import MIAODDiscrepancy
from .learning_loss import LearningLoss
from .ppal import PPAL
from .uncertainty import Entropy, LeastConfidence, Margin

__all__ = [
    "CDAL",
    "PPAL",
    "Acquisition",
    "CoreSet",
    "Descriptors",
    "Entropy",
    "LearningLoss",
    "LeastConfidence",
    "MIAODDiscrepancy",
    "Margin",
    "Random",
    "ScoreAcquisition",
    "Selection",
]
