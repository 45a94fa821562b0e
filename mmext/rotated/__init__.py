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
from .rotated_iou_loss import RotatedIoULoss, rotated_iou_loss

__all__ = [
    "GDLoss",
    "GWDLoss",
    "GaussianDistanceLoss",
    "KLDLoss",
    "RotatedDetectionMetric",
    "RotatedIoULoss",
    "gaussian_distance_loss",
    "gwd_loss",
    "kld_loss",
    "rotated_iou_loss",
]
