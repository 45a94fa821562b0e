"""HyperDet3D (CVPR 2022), reconstructed from its description: no code was published."""

from .hyperdet3d import HyperDet3D

__all__ = ["HyperDet3D"]
