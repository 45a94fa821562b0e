"""CenterNet++: objects as pairs of quarter boxes (arXiv 2204.08394)."""

from .assigners import CandidateATSSAssigner, NearestPointAssigner
from .detector import CenterNetPlusPlus
from .fast_head import CenterNetPlusPlusFastHead
from .losses import PlusOneGIoULoss, SeparateFocalLoss

__all__ = [
    "CandidateATSSAssigner",
    "CenterNetPlusPlus",
    "CenterNetPlusPlusFastHead",
    "NearestPointAssigner",
    "PlusOneGIoULoss",
    "SeparateFocalLoss",
]
