"""Rotated boxes: Gaussian losses, the check of DOTA data sets. Importing registers them."""

from .dota_check import check_dota_dataset
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
    "check_dota_dataset",
    "gaussian_distance_loss",
    "gwd_loss",
    "kld_loss",
]
