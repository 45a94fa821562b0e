"""Rotated boxes: losses, evaluation, the check of DOTA data sets. Importing registers them."""

from .dota_check import check_dota_dataset
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
from .rotated_iou_loss import RotatedIoULoss, rotated_iou_loss

__all__ = [
    "GDLoss",
    "GWDLoss",
    "GaussianDistanceLoss",
    "KLDLoss",
    "RotatedDetectionMetric",
    "RotatedIoULoss",
    "check_dota_dataset",
    "gaussian_distance_loss",
    "gwd_loss",
    "kld_loss",
    "rotated_iou_loss",
]
