"""Image restoration; importing this package registers what it holds."""

from . import uformer

__all__ = ["uformer"]
