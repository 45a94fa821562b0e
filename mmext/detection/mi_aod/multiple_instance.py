"""Which classes an image holds, told by its anchors: MI-AOD's multiple instance learning.

Levels are lists of tensors (B, A, K): B images, A anchors of one level of the feature pyramid, K
channels of the classifiers, the background of a softmax among them.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

WeightForm = Literal["code", "paper"]
LevelReduce = Literal["max", "sum"]
ClassReduce = Literal["mean", "sum"]

# The official code keeps image scores this far from 0 and 1; the logarithm needs it.
EPS = 1e-5


def flatten_level(scores: Tensor, num_channels: int) -> Tensor:
    """Put the anchors of one level in a row, in mmdet's order (row, column, anchor of the cell).

    Args:
        scores (Tensor): (B, N * K, H, W) output of a classifier, N anchors per cell.
        num_channels (int): K.

    Returns:
        Tensor: (B, H * W * N, K), at least float32.
    """
    scores = scores.permute(0, 2, 3, 1).reshape(len(scores), -1, num_channels)
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def instance_scores(
    mil_logits: Sequence[Tensor],
    logits_1: Sequence[Tensor],
    logits_2: Sequence[Tensor],
    *,
    weight: WeightForm = "code",
) -> list[Tensor]:
    """What each anchor says about the classes of its image, "instance weights" in the paper.

    Product of the class term, a softmax over the channels of the multiple instance classifier, and
    the anchor term, by which the two other classifiers tell how much an anchor counts. No gradient
    passes through the anchor term, as in the official code; the paper does not say.

    With one channel a softmax is 1 whatever the logit, so that neither the loss of images nor its
    gradient depends on them. There the class term is a sigmoid.

    Args:
        mil_logits (Sequence[Tensor]): (B, A, K) of each level, the classifier f_mil.
        logits_1 (Sequence[Tensor]): The same of f_1.
        logits_2 (Sequence[Tensor]): The same of f_2.
        weight (str): The anchor term. ``code``: softmax over the anchors of a level, of the highest
            sigmoid of an anchor's channels, so all channels share it, and the largest is less than
            e times the smallest. ``paper``: softmax of the logits over the anchors of all levels,
            for each channel. The logits are the mean of those of f_1 and f_2 in both.

    Returns:
        list[Tensor]: (B, A, K) of each level, without negative values. With more than one channel
        they sum to 1 over anchors and channels of a level for ``code``, and to 1 or less over all
        levels of a channel for ``paper``.

    Source: MI-AOD (arXiv 2104.02324), section 3.3, eq. 5, which is ``paper``; ``code`` is what the
    official code does, and the default.
    """
    means = [(a.detach() + b.detach()) / 2 for a, b in zip(logits_1, logits_2, strict=True)]
    if weight == "paper":
        anchor_terms = torch.cat(means, 1).softmax(1).split([m.shape[1] for m in means], 1)
    else:
        # The highest sigmoid is that of the highest logit.
        anchor_terms = [m.amax(-1, keepdim=True).sigmoid().softmax(1) for m in means]
    class_terms = [z.softmax(-1) if z.shape[-1] > 1 else z.sigmoid() for z in mil_logits]
    return [c * a for c, a in zip(class_terms, anchor_terms, strict=True)]


def image_class_scores(scores: Sequence[Tensor], *, level_reduce: LevelReduce = "max") -> Tensor:
    """Scores of the classes of an image: those of its anchors, summed.

    Args:
        scores (Sequence[Tensor]): (B, A, K) of each level, of :func:`instance_scores`.
        level_reduce (str): What levels come to: ``max`` (code) the highest, ``sum`` (paper, which
            has no levels) their sum.

    Returns:
        Tensor: (B, K), in [1e-5, 1 - 1e-5].

    Source: MI-AOD (arXiv 2104.02324), eq. 5 and 6.
    """
    levels = torch.stack([level.sum(1) for level in scores])
    image = levels.max(0).values if level_reduce == "max" else levels.sum(0)
    return image.clamp(EPS, 1 - EPS)


def image_class_targets(labels: Sequence[Tensor], num_channels: int) -> Tensor:
    """Which classes the labelled objects of each image have.

    Args:
        labels (Sequence[Tensor]): (n,) labels of the objects of each image, n may be 0.
        num_channels (int): K, with the background of a softmax, which is in no image.

    Returns:
        Tensor: (B, K), 1 where the image has an object of the class, 0 elsewhere.
    """
    targets = torch.zeros(len(labels), num_channels, device=labels[0].device)
    for row, present in zip(targets, labels, strict=True):
        row[present] = 1
    return targets


def pseudo_class_targets(
    logits_1: Sequence[Tensor], logits_2: Sequence[Tensor], *, threshold: float = 0.5
) -> Tensor:
    """Which classes two classifiers find in each image, in place of labels.

    Sigmoids of the logits are averaged, for softmax classifiers too, as in the official code.

    Args:
        logits_1 (Sequence[Tensor]): (B, A, K) of each level, the classifier f_1.
        logits_2 (Sequence[Tensor]): The same of f_2.
        threshold (float): Least mean probability of the most certain anchor.

    Returns:
        Tensor: (B, K), 1 or 0, without gradient.
    """
    highest = [
        ((a.detach().sigmoid() + b.detach().sigmoid()) / 2).amax(1)
        for a, b in zip(logits_1, logits_2, strict=True)
    ]
    best = torch.stack(highest).amax(0)
    return (best >= threshold).to(best.dtype)


def image_class_loss(
    scores: Tensor, targets: Tensor, *, class_reduce: ClassReduce = "mean"
) -> Tensor:
    """Binary cross-entropy between scores and classes of images.

    Args:
        scores (Tensor): (B, K) of :func:`image_class_scores`.
        targets (Tensor): (B, K), 1 for classes in the image and 0 for others.
        class_reduce (str): Over classes the ``mean`` (code) or the ``sum`` (paper), over images the
            mean in both.

    Returns:
        Tensor: Scalar.

    Source: MI-AOD (arXiv 2104.02324), eq. 6.
    """
    # Not torch's function, which refuses to run under CUDA autocast, even on float32.
    loss = -(targets * scores.log() + (1 - targets) * (1 - scores).log())
    per_image = loss.mean(1) if class_reduce == "mean" else loss.sum(1)
    return per_image.mean()
