"""Group-Free-3D (arXiv 2104.00678): indoor 3-D detection with a transformer decoder."""

from .group_free3d import GroupFree3D
from .losses import GroupFree3DLoss
from .point_net2 import PointNet2

__all__ = ["GroupFree3D", "GroupFree3DLoss", "PointNet2"]
