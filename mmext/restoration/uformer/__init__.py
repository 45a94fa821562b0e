"""Uformer (arXiv 2106.03106), a U-shaped transformer for image restoration."""

from .uformer import Uformer

__all__ = ["Uformer"]
