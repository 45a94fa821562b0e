"""Custom operators: each file holds one op, its typed wrapper and its pure-torch reference."""

from .corner_pool import corner_pool
from .deform_conv import deform_conv2d
from .deform_conv_layers import DCN, DCNv2
from .gaussian_distance import gaussian_distance
from .gelu_dwconv_gelu import gelu_dwconv_gelu
from .rotated_iou import rotated_iou

__all__ = [
    "DCN",
    "DCNv2",
    "corner_pool",
    "deform_conv2d",
    "gaussian_distance",
    "gelu_dwconv_gelu",
    "rotated_iou",
]
