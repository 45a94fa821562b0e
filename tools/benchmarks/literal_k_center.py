"""k-centre greedy as it is usually written, with a loop over centres, for benchmarks."""

import numpy as np


def literal_k_center(points: np.ndarray, centers: np.ndarray, count: int) -> list[int]:
    """Choose points one by one, each the farthest from all centres.

    For each choice the differences of all points to the new centre are formed and their norms
    taken, as with ``pairwise_distances``; before, the same for each centre that is there.

    Args:
        points: (N, D) candidates.
        centers: (M, D) points that are centres already, M >= 1.
        count: How many to choose.

    Returns:
        Indices in the order of choice.

    Source: Sener and Savarese, arXiv 1708.00489, algorithm 1.
    """
    nearest = np.full(len(points), np.inf)
    for center in centers:
        nearest = np.minimum(nearest, np.linalg.norm(points - center, axis=1))
    chosen: list[int] = []
    for _ in range(count):
        index = int(nearest.argmax())
        chosen.append(index)
        nearest = np.minimum(nearest, np.linalg.norm(points - points[index], axis=1))
    return chosen
