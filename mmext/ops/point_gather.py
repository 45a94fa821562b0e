"""Features of chosen points: gathered, grouped by neighbourhood, interpolated."""

import torch
from torch import Tensor

from ._points import check_device


def gather_points(features: Tensor, indices: Tensor) -> Tensor:
    """Take the features of chosen points: ``out[b, c, m] = features[b, c, indices[b, m]]``.

    Values and the order of arguments are mmcv's. Gradients of any order exist.

    Args:
        features: (B, C, N) features.
        indices: (B, M) int32 or int64 indices of points.

    Returns:
        (B, C, M), dtype of ``features``.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit.
    """
    _check("gather_points", features, indices, "(B, M)", 2)
    return _gather(features, indices)


def group_points(features: Tensor, indices: Tensor) -> Tensor:
    """Take the features of neighbourhoods: ``out[b, c, m, j] = features[b, c, indices[b, m, j]]``.

    Values and the order of arguments are those of mmcv's ``grouping_operation``. Gradients of any
    order exist.

    Args:
        features: (B, C, N) features.
        indices: (B, M, k) int32 or int64 indices of points, as from ``ball_query``.

    Returns:
        (B, C, M, k), dtype of ``features``.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit.
    """
    _check("group_points", features, indices, "(B, M, k)", 3)
    return _gather(features, indices.flatten(1)).unflatten(2, indices.shape[1:])


def three_interpolate(features: Tensor, indices: Tensor, weight: Tensor) -> Tensor:
    """Interpolate features between three points each.

    ``out[b, c, n]`` is the sum over j of ``weight[b, n, j] * features[b, c, indices[b, n, j]]``.
    Values and the order of arguments are mmcv's. Gradients of any order exist, also for
    ``weight``. Half types are summed in float32.

    Args:
        features: (B, C, M) features of the points that are known.
        indices: (B, N, 3) int32 or int64 indices of them, as from ``three_nn``.
        weight: (B, N, 3) weights, which usually sum to 1.

    Returns:
        (B, C, N), dtype of ``features``.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit.
    """
    _check("three_interpolate", features, indices, "(B, N, 3)", 3)
    if indices.shape[2] != 3 or weight.shape != indices.shape:
        raise ValueError(
            "three_interpolate: indices and weight must be (B, N, 3), got "
            f"{tuple(indices.shape)} and {tuple(weight.shape)}."
        )
    if not weight.is_floating_point():
        raise ValueError(f"three_interpolate: weight must be floating point, got {weight.dtype}.")
    check_device("three_interpolate", ("weight", weight), ("features", features))
    working = torch.promote_types(features.dtype, torch.float32)
    neighbours = _gather(features, indices.flatten(1)).unflatten(2, indices.shape[1:])
    return (neighbours.to(working) * weight[:, None].to(working)).sum(-1).to(features.dtype)


def _gather(features: Tensor, indices: Tensor) -> Tensor:
    """Take columns of (B, C, N) features; (B, M) indices make (B, C, M)."""
    return features.gather(2, indices.long()[:, None].expand(-1, features.shape[1], -1))


def _check(op: str, features: Tensor, indices: Tensor, shape: str, rank: int) -> None:
    """Raise a ValueError that names the argument which does not fit."""
    if features.dim() != 3:
        raise ValueError(f"{op}: features must be (B, C, N), got {tuple(features.shape)}.")
    if not features.is_floating_point():
        raise ValueError(f"{op}: features must be floating point, got {features.dtype}.")
    if indices.dim() != rank:
        raise ValueError(f"{op}: indices must be {shape}, got {tuple(indices.shape)}.")
    if indices.dtype not in (torch.int32, torch.int64):
        raise ValueError(f"{op}: indices must be int32 or int64, got {indices.dtype}.")
    if indices.shape[0] != features.shape[0]:
        raise ValueError(
            f"{op}: indices has {indices.shape[0]} samples, features has {features.shape[0]}."
        )
    check_device(op, ("indices", indices), ("features", features))
    if features.shape[2] == 0 and indices.numel() > 0:
        raise ValueError(f"{op}: features has no points to take from.")
