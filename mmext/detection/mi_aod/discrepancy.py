"""Where two classifiers disagree: what MI-AOD trains on without labels, and selects images by."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Goal = Literal["min", "max"]


def probabilities(logits: Tensor, *, sigmoid: bool) -> Tensor:
    """Activate logits (..., K), by a sigmoid or by a softmax over the last dimension."""
    return logits.sigmoid() if sigmoid else logits.softmax(-1)


def discrepancy_loss(
    logits_1: Tensor,
    logits_2: Tensor,
    weight: Tensor,
    *,
    goal: Goal,
    sigmoid: bool = True,
) -> Tensor:
    """Weighted sum of what two classifiers disagree on, or agree on.

    ``sum w / K * |p1 - p2|`` over images, anchors and channels for ``min``, and with
    ``1 - |p1 - p2|`` in its place for ``max``. Both together are ``sum w / K``, a constant, because
    the weights pass no gradient. The sum is divided neither by the number of images nor of levels,
    as in the official code; where the weights of a level sum to 1, it is at most B / K.

    Args:
        logits_1 (Tensor): (B, A, K) of one level, the classifier f_1.
        logits_2 (Tensor): The same of f_2.
        weight (Tensor): (B, A, K) of :func:`mmext.detection.mi_aod.instance_scores`.
        goal (str): ``min`` to make them agree (backbone), ``max`` to make them disagree
            (classifiers).
        sigmoid (bool): Whether probabilities are sigmoids or a softmax over channels.

    Returns:
        Tensor: Scalar.

    Source: MI-AOD (arXiv 2104.02324), eq. 3 and 7 (``min``), 4 and 8 (``max``, there the negative
    discrepancy, which differs by the constant).
    """
    first, second = (probabilities(logits, sigmoid=sigmoid) for logits in (logits_1, logits_2))
    distance = (first - second).abs()
    if goal == "max":
        distance = 1 - distance
    return (distance * weight.detach()).sum() / distance.shape[-1]


def image_uncertainty(
    logits_1: Sequence[Tensor],
    logits_2: Sequence[Tensor],
    weights: Sequence[Tensor] | None = None,
    *,
    topk: int = 10000,
    power: float = 2,
    sigmoid: bool = True,
) -> Tensor:
    """Score images by how much two classifiers disagree about them.

    For each anchor the mean over channels of ``|p1 - p2| ** power``, for each image the mean of its
    ``topk`` highest anchors of all levels.

    Args:
        logits_1 (Sequence[Tensor]): (B, A, K) of each level, the classifier f_1.
        logits_2 (Sequence[Tensor]): The same of f_2.
        weights (Sequence[Tensor] | None): (B, A, K) factors of each level (paper), or none (code).
        topk (int): Anchors per image; all if it has fewer.
        power (float): 2 (code) or 1 (paper).
        sigmoid (bool): Whether probabilities are sigmoids or a softmax over channels.

    Returns:
        Tensor: (B,), higher is more informative.

    Source: MI-AOD (arXiv 2104.02324), section 3.4; the official code takes squares and no weights.
    """
    anchors = []
    for level, pair in enumerate(zip(logits_1, logits_2, strict=True)):
        first, second = (probabilities(logits, sigmoid=sigmoid) for logits in pair)
        distance = (first - second).abs() ** power
        if weights is not None:
            distance = distance * weights[level]
        anchors.append(distance.mean(-1))
    anchors = torch.cat(anchors, 1)
    return anchors.topk(min(topk, anchors.shape[1]), dim=1).values.mean(1)
