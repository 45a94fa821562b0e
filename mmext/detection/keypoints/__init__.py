"""What detectors of key points (corners, centres) share; importing it registers the transforms."""

from .corner_pool_pack import CornerPoolPack
from .pooling import CascadeCornerPool, CenterPool
from .transforms import ColorJitterLighting, KeypointCropPad, ScaledCenterPad

__all__ = [
    "CascadeCornerPool",
    "CenterPool",
    "ColorJitterLighting",
    "CornerPoolPack",
    "KeypointCropPad",
    "ScaledCenterPad",
]
