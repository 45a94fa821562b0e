"""Oriented 3-D boxes and the samples that hold them."""

from .boxes3d import Boxes3D, from_upright_camera, rotate_points, to_upright_camera, wrap_angle
from .sample import Det3DSample

__all__ = [
    "Boxes3D",
    "Det3DSample",
    "from_upright_camera",
    "rotate_points",
    "to_upright_camera",
    "wrap_angle",
]
