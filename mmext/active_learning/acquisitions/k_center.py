"""Covering a set by few of its points: k-centre greedy and k-medoids, on tensors."""

from collections.abc import Callable

import torch
from torch import Tensor

_CHUNK = 4096


def k_center_greedy(
    distances_to: Callable[[int], Tensor], nearest: Tensor, count: int
) -> list[int]:
    """Choose points one by one, each the farthest from all that were chosen before.

    Args:
        distances_to: For the index of a point, (N,) distances of all points to it.
        nearest: (N,) distance of each point to the nearest centre that is there already; ``inf``
            where there is none. Points that may not be chosen have ``-inf``.
        count: How many.

    Returns:
        Indices in the order of choice; of equally far points the first.

    Source: Sener and Savarese, arXiv 1708.00489, algorithm 1; O(N count) distances.
    """
    nearest = nearest.clone()
    chosen: list[int] = []
    for _ in range(count):
        index = int(nearest.argmax())
        chosen.append(index)
        nearest = torch.minimum(nearest, distances_to(index))
        nearest[chosen] = -torch.inf
    return chosen


def squared_distances(points: Tensor, others: Tensor) -> Tensor:
    """Return (N, M) squared Euclidean distances of (N, D) points to (M, D) others."""
    squares = points.square().sum(1)[:, None] + others.square().sum(1)
    return torch.addmm(squares, points, others.T, alpha=-2).clamp_(min=0)


def core_set(points: Tensor, centers: Tensor, count: int) -> list[int]:
    """Choose the points that cover all others best, by Euclidean distance.

    Args:
        points: (N, D) candidates.
        centers: (M, D) points that are centres already; M may be 0.
        count: How many to choose.

    Returns:
        Indices in the order of choice. Without centres the first is the point nearest the mean.
    """
    middle = points.mean(0)
    points = points - middle  # so that differences of large numbers do not swallow small distances
    nearest = points.new_full((len(points),), torch.inf)
    for part in (centers - middle).split(_CHUNK) if len(centers) else ():
        nearest = torch.minimum(nearest, squared_distances(points, part).amin(1))
    squares = points.square().sum(1)
    if len(centers) == 0:
        nearest = -squares

    def distances_to(index: int) -> Tensor:
        return torch.addmv(squares + squares[index], points, points[index], alpha=-2).clamp_(min=0)

    if len(centers) == 0 and count:
        first = int(nearest.argmax())
        nearest = distances_to(first)
        nearest[first] = -torch.inf
        return [first, *k_center_greedy(distances_to, nearest, count - 1)]
    return k_center_greedy(distances_to, nearest, count)


def k_medoids(distances: Tensor, centers: list[int], iterations: int = 100) -> list[int]:
    """Move centres to the middle of the points that are nearest to them.

    Args:
        distances: (N, N) symmetric.
        centers: Indices to begin with, all different.
        iterations: At most; it ends earlier when nothing moves.

    Returns:
        As many indices as ``centers``. A centre whose points are all taken stays what it is.
    """
    medoids = torch.tensor(centers, dtype=torch.long)
    for _ in range(iterations):
        owner = distances[:, medoids].argmin(1)
        owner[medoids] = torch.arange(len(medoids))  # also where two medoids lie on one spot
        members = torch.nn.functional.one_hot(owner, len(medoids)).to(distances)
        cost = (distances @ members).gather(1, owner[:, None])[:, 0]
        # The cheapest of each cluster comes first when sorted by cluster, then by cost.
        order = cost.argsort(stable=True)
        order = order[owner[order].argsort(stable=True)]
        sizes = torch.bincount(owner, minlength=len(medoids))
        moved = order[sizes.cumsum(0) - sizes]
        if torch.equal(moved, medoids):
            break
        medoids = moved
    return medoids.tolist()
