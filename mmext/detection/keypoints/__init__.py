"""What detectors of key points (corners, centres) share."""

from .pooling import CascadeCornerPool, CenterPool

__all__ = ["CascadeCornerPool", "CenterPool"]
