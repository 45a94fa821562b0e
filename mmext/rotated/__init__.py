"""Rotated boxes: losses of boxes as Gaussians, evaluation. Importing this registers them."""

from .evaluation import RotatedDetectionMetric
from .gaussian_losses import (
    GaussianDistanceLoss,
    GWDLoss,
    KLDLoss,
    gaussian_distance_loss,
    gwd_loss,
    kld_loss,
)
from .gd_loss import GDLoss

__all__ = [
    "GDLoss",
    "GWDLoss",
    "GaussianDistanceLoss",
    "KLDLoss",
    "RotatedDetectionMetric",
    "gaussian_distance_loss",
    "gwd_loss",
    "kld_loss",
]
