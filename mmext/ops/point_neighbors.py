"""Neighbours in point clouds: those in a ball, the three nearest and the k nearest."""

import torch
from torch import Tensor

from . import _extension
from ._points import CHUNK, check_finite, check_pair, squared_distances, working


def ball_query(
    min_radius: float, max_radius: float, sample_num: int, xyz: Tensor, center_xyz: Tensor
) -> Tensor:
    """Find the first points, by index, in a ball or a shell around each centre.

    A point is found if it coincides with the centre, or if its squared distance is at least
    ``min_radius**2`` and less than ``max_radius**2``: the inner border belongs to the shell, the
    outer one does not. Of more points than ``sample_num`` those with the lowest indices are taken,
    not the nearest. Where there are fewer, the first one fills the places left over; where there is
    none, index 0 does. Values and the order of arguments are mmcv's.

    Squared distances and radii are in float32, in float64 if a cloud is. The result has no
    gradient.

    Args:
        min_radius: Inner radius in metres, 0 for a ball.
        max_radius: Outer radius in metres.
        sample_num: k, how many points to find for each centre.
        xyz: (B, N, 3) points to find, in metres.
        center_xyz: (B, M, 3) centres.

    Returns:
        (B, M, k) int64 indices of ``xyz``.

    Raises:
        ValueError: Shapes, devices or numbers do not fit, ``xyz`` is empty, or a point is not
            finite. The latter is found on a CPU only; on other devices such points are not found.

    Source: PointNet++ (Qi et al., 2017), section 3.2.
    """
    check_pair("ball_query", ("center_xyz", center_xyz), ("xyz", xyz))
    if sample_num < 1:
        raise ValueError(f"ball_query: sample_num must be at least 1, got {sample_num}.")
    if not 0 <= min_radius < max_radius:
        raise ValueError(
            "ball_query: radii must be 0 <= min_radius < max_radius, got "
            f"{min_radius} and {max_radius}."
        )
    op = torch.ops.mmext.ball_query if _extension.LOADED else ball_query_reference
    return op(min_radius, max_radius, sample_num, *working(xyz, center_xyz))


def ball_query_reference(
    min_radius: float, max_radius: float, sample_num: int, xyz: Tensor, center_xyz: Tensor
) -> Tensor:
    """Compute :func:`ball_query` with plain torch functions, on any device.

    Test oracle and fallback. Takes the arguments of :func:`ball_query`, with clouds of one dtype.
    """
    check_finite("ball_query", "xyz", xyz)
    check_finite("ball_query", "center_xyz", center_xyz)
    count = xyz.shape[1]
    inner, outer = (xyz.new_tensor(radius).square() for radius in (min_radius, max_radius))
    index = torch.arange(count, device=xyz.device)
    parts = []
    for centres in center_xyz.split(_rows(xyz), 1):
        squared = squared_distances(centres[:, :, None], xyz[:, None])
        found = (squared == 0) | ((squared >= inner) & (squared < outer))
        first = torch.where(found, index, count).topk(min(sample_num, count), -1, largest=False)[0]
        first = torch.nn.functional.pad(first, (0, sample_num - first.shape[-1]), value=count)
        filler = torch.where(first[..., :1] == count, 0, first[..., :1])
        parts.append(torch.where(first == count, filler, first))
    return torch.cat(parts, 1)


def three_nn(target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Find the three points of ``source`` that are nearest to each point of ``target``.

    Nearest first; of points that are equally near the one with the lowest index comes first. Where
    ``source`` has fewer than three points, the places left over have index 0 and an infinite
    distance, which makes a weight of 0. Values and the order of arguments are mmcv's.

    Distances are Euclidean, computed in float32, or in float64 if a cloud is. The results have no
    gradient.

    Args:
        target: (B, N, 3) points to look from, in metres.
        source: (B, M, 3) points to find.

    Returns:
        (B, N, 3) distances in metres, of the wider of both dtypes, and (B, N, 3) int64 indices of
        ``source``.

    Raises:
        ValueError: Shapes or devices do not fit, ``source`` is empty, or a point is not finite. The
            latter is found on a CPU only; on other devices such points are not found.

    Source: PointNet++ (Qi et al., 2017), section 3.4.
    """
    check_pair("three_nn", ("target", target), ("source", source))
    dtype = torch.promote_types(target.dtype, source.dtype)
    op = torch.ops.mmext.three_nn if _extension.LOADED else three_nn_reference
    distance, index = op(*working(target, source))
    return distance.to(dtype), index


def three_nn_reference(target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Compute :func:`three_nn` with plain torch functions, on any device.

    Test oracle and fallback. Takes the arguments of :func:`three_nn`, of one dtype.
    """
    check_finite("three_nn", "target", target)
    check_finite("three_nn", "source", source)
    return _nearest(target, source, 3)


def knn(k: int, xyz: Tensor, center_xyz: Tensor | None = None) -> Tensor:
    """Find the k points that are nearest to each centre.

    Nearest first; of points that are equally near the one with the lowest index comes first. Layout
    and order of arguments are mmcv's. Squared distances are in float32, in float64 if a cloud is.
    The result has no gradient.

    Args:
        k: How many points to find for each centre.
        xyz: (B, N, 3) points to find, in metres.
        center_xyz: (B, M, 3) centres; the points themselves if None.

    Returns:
        (B, k, M) int64 indices of ``xyz``.

    Raises:
        ValueError: Shapes or devices do not fit, ``xyz`` has fewer than ``k`` points, or a point is
            not finite. The latter is found on a CPU only; on other devices such points are not
            found.
    """
    center_xyz = xyz if center_xyz is None else center_xyz
    check_pair("knn", ("center_xyz", center_xyz), ("xyz", xyz))
    if not 1 <= k <= xyz.shape[1]:
        raise ValueError(f"knn: k must be from 1 to the {xyz.shape[1]} points of xyz, got {k}.")
    op = torch.ops.mmext.knn if _extension.LOADED else knn_reference
    return op(k, *working(xyz, center_xyz))


def knn_reference(k: int, xyz: Tensor, center_xyz: Tensor) -> Tensor:
    """Compute :func:`knn` with plain torch functions, on any device.

    Test oracle and fallback. Takes the arguments of :func:`knn`, of one dtype.
    """
    check_finite("knn", "xyz", xyz)
    check_finite("knn", "center_xyz", center_xyz)
    return _nearest(center_xyz, xyz, k)[1].transpose(1, 2).contiguous()


def _nearest(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k nearest of (B, N, 3) points for (B, M, 3) queries of the same dtype.

    Returns:
        (B, M, k) distances, infinite where there are fewer points, and (B, M, k) int64 indices,
        there 0.
    """
    if queries.shape[0] * queries.shape[1] == 0:
        shape = (*queries.shape[:2], k)
        return queries.new_empty(shape), queries.new_empty(shape, dtype=torch.int64)
    parts = []
    for part in queries.split(_rows(points), 1):
        squared = squared_distances(part[:, :, None], points[:, None])
        squared = torch.where(squared.isnan(), torch.inf, squared)
        nearest, indices = [], []
        for _ in range(k):  # argmin takes the first of equal ones, topk any
            index = squared.argmin(-1, keepdim=True)
            nearest.append(squared.gather(-1, index))
            indices.append(index)
            squared = squared.scatter(-1, index, torch.inf)
        parts.append((torch.cat(nearest, -1).sqrt(), torch.cat(indices, -1)))
    distances, indices = zip(*parts, strict=True)
    return torch.cat(distances, 1), torch.cat(indices, 1)


def _rows(points: Tensor) -> int:
    """Return how many rows of a matrix of distances to (B, N, 3) points fit a chunk."""
    return max(1, CHUNK // max(1, points.shape[0] * points.shape[1]))


def _fake_ball_query(
    min_radius: float, max_radius: float, sample_num: int, xyz: Tensor, center_xyz: Tensor
) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    return xyz.new_empty((*center_xyz.shape[:2], sample_num), dtype=torch.int64)


def _fake_three_nn(target: Tensor, source: Tensor) -> tuple[Tensor, Tensor]:
    """Tell torch.compile and torch.export the shapes of the results."""
    return target.new_empty(target.shape), target.new_empty(target.shape, dtype=torch.int64)


def _fake_knn(k: int, xyz: Tensor, center_xyz: Tensor) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    batch, count, _ = center_xyz.shape
    return xyz.new_empty((batch, k, count), dtype=torch.int64)


if _extension.LOADED:
    torch.library.register_fake("mmext::ball_query", _fake_ball_query)
    torch.library.register_fake("mmext::three_nn", _fake_three_nn)
    torch.library.register_fake("mmext::knn", _fake_knn)
