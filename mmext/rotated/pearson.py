"""Gaussians by standard deviations and correlation, turned into boxes."""

import torch
from torch import Tensor

# How far from a circle a Gaussian is made at least, relative to its variance. A circle has no axes,
# and its angle no derivative; this far away both are well within double precision.
_LEAST_ECCENTRICITY = 1e-9
_MAX_CORRELATION = 1 - 1e-7


def stddev_pearson_to_rbox(gaussians: Tensor) -> Tensor:
    """Return the rotated box whose Gaussian has given standard deviations and correlation.

    Args:
        gaussians: (N, 5) centre x, y, standard deviations along x and y, their correlation in
            [-1, 1]. Correlations beyond 1 - 1e-7 are taken as that, as in mmrotate.

    Returns:
        (N, 5) float64 boxes x, y, w, h, angle in radians, with w >= h. Differentiable; so is what
        is computed from the box's covariance, also for circles.
    """
    x, y, std_x, std_y, correlation = gaussians.double().unbind(1)
    correlation = correlation.clamp(-_MAX_CORRELATION, _MAX_CORRELATION)
    covariance = correlation * std_x * std_y
    mean = (std_x.square() + std_y.square()) / 2
    half_difference = (std_x.square() - std_y.square()) / 2
    radius = torch.hypot(half_difference, covariance).detach()
    least = _LEAST_ECCENTRICITY * mean.detach()
    half_difference = half_difference + torch.where(radius < least, 2 * least, 0)
    radius = torch.hypot(half_difference, covariance)
    long_variance = mean + radius
    determinant = (std_x * std_y).square() * (1 - correlation) * (1 + correlation)
    long = 2 * long_variance.sqrt()
    short = 2 * (determinant / long_variance).sqrt()
    angle = torch.atan2(covariance, half_difference) / 2
    return torch.stack((x, y, long, short, angle), dim=1)
