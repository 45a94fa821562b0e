"""Custom operators: each file holds one op, its typed wrapper and its pure-torch reference."""

from .deform_conv import deform_conv2d
from .deform_conv_layers import DCN, DCNv2

__all__ = ["DCN", "DCNv2", "deform_conv2d"]
