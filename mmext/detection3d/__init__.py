"""Indoor 3-D detection; importing this package registers its parts."""

from .group_free3d import GroupFree3D, GroupFree3DLoss, PointNet2
from .hyperdet3d import HyperDet3D

__all__ = ["GroupFree3D", "GroupFree3DLoss", "HyperDet3D", "PointNet2"]
