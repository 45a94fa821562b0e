"""CenterNet++ (arXiv 2204.08394) and the CenterNet of key point triplets (arXiv 1904.08189)."""

from .assigners import CandidateATSSAssigner, NearestPointAssigner
from .detector import CenterNetPlusPlus
from .fast_head import CenterNetPlusPlusFastHead
from .full_head import CenterNetPlusPlusHead
from .losses import PlusOneGIoULoss, SeparateFocalLoss
from .triplet import CenterNetTriplet, CenterNetTripletTTA
from .triplet_head import CenterNetTripletHead
from .triplet_losses import PullPushLoss
from .tta import CenterNetPlusPlusTTA

__all__ = [
    "CandidateATSSAssigner",
    "CenterNetPlusPlus",
    "CenterNetPlusPlusFastHead",
    "CenterNetPlusPlusHead",
    "CenterNetPlusPlusTTA",
    "CenterNetTriplet",
    "CenterNetTripletHead",
    "CenterNetTripletTTA",
    "NearestPointAssigner",
    "PlusOneGIoULoss",
    "PullPushLoss",
    "SeparateFocalLoss",
]
