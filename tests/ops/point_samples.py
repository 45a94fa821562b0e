"""Clouds for the tests of the ops on points, and the golden arrays."""

from pathlib import Path

import numpy as np
import torch

DATA = Path(__file__).parents[1] / "data" / "points3d"
CLOUDS = ("random", "lattice", "duplicates", "clusters", "line", "outlier")


def golden(file):
    """The arrays of one golden file as tensors, indices as int64."""
    with np.load(DATA / file) as arrays:
        return {
            name: torch.from_numpy(value.astype(np.int64) if value.dtype == np.int16 else value)
            for name, value in arrays.items()
            if value.dtype.kind in "fi"
        }


def cloud(kind, count, batch=2, dtype=torch.float32, seed=0):
    """(batch, count, 3) points in metres: of lattices and duplicates many distances tie."""
    make = torch.Generator().manual_seed(seed)
    points = 8 * torch.rand(batch, count, 3, generator=make, dtype=torch.float64)
    if kind == "lattice":
        points = points.div(2, rounding_mode="floor")
    if kind == "duplicates":
        points = points[:, torch.randint(max(1, count // 10), (count,), generator=make)]
    if kind == "clusters":
        points = points[:, torch.randint(3, (count,), generator=make) % count]
        points = points + 1e-3 * torch.randn(points.shape, generator=make, dtype=torch.float64)
    if kind == "line":
        points[..., 1:] = 1
    if kind == "outlier":
        points[:, 0] = 1e6
    return points.to(dtype)
