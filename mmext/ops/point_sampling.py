"""Furthest point sampling: points that cover a cloud evenly, one after the other."""

import torch
from torch import Tensor

from . import _extension
from ._points import check_finite, check_points, squared_distances, working

# Group-Free-3D and VoteNet take points nearer than 3.2 cm to the origin for padding.
_ORIGIN = 1e-3


def furthest_point_sample(
    points: Tensor, num_points: int, *, start: int = 0, skip_origin: bool = False
) -> Tensor:
    """Choose points one after the other, each the furthest from those chosen before.

    Of points that are equally far the one with the lowest index is chosen. (mmcv's kernel takes
    the lowest remainder of the index by the number of threads first. The results differ where
    distances tie exactly, as between duplicates or on a lattice.) The first k of the points chosen
    are those of a call with ``num_points=k``. With more points wanted than there are, points
    repeat.

    Squared distances are in float32, in float64 for float64 points. The result has no gradient.

    Args:
        points: (B, N, 3) coordinates in metres, of floating point.
        num_points: M, how many to choose from each sample.
        start: Index of the first one.
        skip_origin: Whether points with a squared norm of at most 1e-3 are never chosen but as the
            first one, as in the CUDA kernel of VoteNet and Group-Free-3D. If no other point is
            left, index 0 repeats. mmcv has no such rule.

    Returns:
        (B, M) int64 indices.

    Raises:
        ValueError: Shapes or numbers do not fit, or a point is not finite. The latter is found on
            a CPU only; on other devices such points are not chosen.

    Source: PointNet++ (Qi et al., 2017), section 3.2.
    """
    _check(points, num_points, start)
    compiled = _extension.LOADED
    op = torch.ops.mmext.furthest_point_sample if compiled else furthest_point_sample_reference
    return op(*working(points), num_points, start, skip_origin)


def furthest_point_sample_reference(
    points: Tensor, num_points: int, start: int = 0, skip_origin: bool = False
) -> Tensor:
    """Compute :func:`furthest_point_sample` with plain torch functions, on any device.

    Test oracle and fallback. Takes the arguments of :func:`furthest_point_sample`, with points of
    float32 or float64.
    """
    check_finite("furthest_point_sample", "points", points)
    batch = len(points)
    chosen = torch.full((batch, num_points), start, device=points.device)
    if batch == 0:
        return chosen
    finite = points.isfinite().all(-1)
    allowed = finite
    if skip_origin:
        allowed = finite & (squared_distances(points, points.new_zeros(3)).double() > _ORIGIN)
    # What may not be chosen is nearer than what coincides with a point chosen before.
    distance = torch.where(allowed, torch.inf, -1.0).to(points)
    last = points[:, start]
    for number in range(1, num_points):
        step = squared_distances(points, last[:, None])
        distance = torch.where(step < distance, step, distance)
        furthest = distance.argmax(-1)
        chosen[:, number] = furthest
        last = points.gather(1, furthest[:, None, None].expand(batch, 1, 3))[:, 0]
    return chosen


def _fake(points: Tensor, num_points: int, start: int, skip_origin: bool) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    return points.new_empty((points.shape[0], num_points), dtype=torch.int64)


def _check(points: Tensor, num_points: int, start: int) -> None:
    """Raise a ValueError that names the argument which does not fit."""
    check_points("furthest_point_sample", "points", points)
    if num_points < 1:
        raise ValueError(f"furthest_point_sample: num_points must be at least 1, got {num_points}.")
    batch, count, _ = points.shape
    if batch > 0 and count == 0:
        raise ValueError("furthest_point_sample: points has no points to choose from.")
    if batch > 0 and not 0 <= start < count:
        raise ValueError(
            f"furthest_point_sample: start must be an index of the {count} points, got {start}."
        )


if _extension.LOADED:
    torch.library.register_fake("mmext::furthest_point_sample", _fake)
