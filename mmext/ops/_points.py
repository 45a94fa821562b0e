"""What the ops on points share: checks of arguments and the distance of which ties depend."""

import torch
from torch import Tensor

# Elements of a matrix of distances that the references hold at once.
CHUNK = 2**22


def check_points(op: str, name: str, points: Tensor) -> None:
    """Raise a ValueError that names the argument, unless it is (B, N, 3) of floating point."""
    if points.dim() != 3 or points.shape[-1] != 3:
        raise ValueError(
            f"{op}: {name} must be (B, N, 3) points x, y, z, got {tuple(points.shape)}."
        )
    if not points.is_floating_point():
        raise ValueError(f"{op}: {name} must be floating point, got {points.dtype}.")


def check_pair(op: str, queries: tuple[str, Tensor], points: tuple[str, Tensor]) -> None:
    """Check two clouds, of which the points of one are looked for in the other.

    Args:
        op: Its name, for messages.
        queries: Name and (B, M, 3) tensor of the points to look from.
        points: Name and (B, N, 3) tensor of the points to find.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit, or there is nothing to find.
    """
    for name, cloud in (points, queries):
        check_points(op, name, cloud)
    (query_name, query), (name, cloud) = queries, points
    if query.shape[0] != cloud.shape[0]:
        raise ValueError(
            f"{op}: {query_name} has {query.shape[0]} samples, {name} has {cloud.shape[0]}."
        )
    check_device(op, (query_name, query), points)
    if cloud.shape[1] == 0 and query.shape[0] * query.shape[1] > 0:
        raise ValueError(f"{op}: {name} has no points, so there is nothing to find in it.")


def check_device(op: str, first: tuple[str, Tensor], second: tuple[str, Tensor]) -> None:
    """Raise a ValueError that names both arguments, unless they are on one device."""
    if first[1].device != second[1].device:
        raise ValueError(
            f"{op}: {first[0]} is on {first[1].device}, {second[0]} on {second[1].device}; move "
            "them together."
        )


def check_finite(op: str, name: str, points: Tensor) -> None:
    """Raise a ValueError that names the first point which is not finite.

    Only on a CPU and outside of torch.compile: elsewhere it would have to wait for the values.
    """
    if points.device.type != "cpu" or torch.compiler.is_compiling():
        return
    broken = ~points.isfinite().all(-1)
    if broken.any():
        sample, index = broken.nonzero()[0].tolist()
        values = ", ".join(f"{value:g}" for value in points[sample, index].tolist())
        raise ValueError(
            f"{op}: {name}[{sample}, {index}] is ({values}); remove points that are not finite "
            "before."
        )


def working(*tensors: Tensor) -> list[Tensor]:
    """Return the tensors, detached, in the widest of their dtypes and at least in float32."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return [tensor.detach().to(dtype) for tensor in tensors]


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Return the squared distances of broadcast (..., 3) points.

    Each product is rounded before it is added, in this order. The kernels do the same, so that
    ties and near ties are the same everywhere.
    """
    x, y, z = (first - second).unbind(-1)
    return x * x + y * y + z * z
