"""CenterNet++: objects as pairs of quarter boxes (arXiv 2204.08394)."""

from .assigners import CandidateATSSAssigner, NearestPointAssigner
from .detector import CenterNetPlusPlus
from .fast_head import CenterNetPlusPlusFastHead
from .full_head import CenterNetPlusPlusHead
from .losses import PlusOneGIoULoss, SeparateFocalLoss

__all__ = [
    "CandidateATSSAssigner",
    "CenterNetPlusPlus",
    "CenterNetPlusPlusFastHead",
    "CenterNetPlusPlusHead",
    "NearestPointAssigner",
    "PlusOneGIoULoss",
    "SeparateFocalLoss",
]
