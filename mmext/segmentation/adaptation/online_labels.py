"""Pseudo labels that are made in the training step, of the batch at hand."""

import torch
from torch import Tensor
from torch.nn import functional

from ..datasets.class_sets import IGNORE


def class_balanced_labels(
    probabilities: Tensor, portion: float = 0.5, ceiling: float = 0.9
) -> Tensor:
    """Return the classes of confident pixels, of each class about as large a part.

    Of the n pixels of the batch that are predicted as a class, sorted by confidence from the
    highest, the one at the rank ``floor(portion * n)``, counted from 0, gives the threshold, at
    most ``ceiling``. Pixels above it are kept.

    Args:
        probabilities: (B, C, H, W), adding up to 1 over C.
        portion: Which part of a class is kept, if none of it is above the ceiling.
        ceiling: Confidence from which pixels are kept whatever their rank.

    Returns:
        (B, H, W) int64, 255 where a prediction is not confident.

    Source: the rule of BDL's code by batch instead of by data set, as He et al. (CVPR 2021) have
    it: portion 0.5, ceiling 0.9. Of the public re-implementations one ranks a class's probability
    among all pixels and sums logits before the softmax; here it is the confidences of the pixels
    predicted as the class.
    """
    classes = probabilities.shape[1]
    confidence, label = probabilities.detach().max(1)
    confidence, flat = confidence.flatten(), label.flatten()
    # By class, and within a class from the most confident pixel on.
    order = confidence.argsort(descending=True)
    order = order[flat[order].argsort(stable=True)]
    counts = torch.bincount(flat, minlength=classes)
    begins = counts.cumsum(0) - counts
    ranks = torch.minimum((portion * counts).long(), (counts - 1).clamp(min=0))
    # A class that is never predicted reads the value of another one, and nobody asks for it.
    places = (begins + ranks).clamp(max=len(order) - 1)
    thresholds = confidence[order[places]].clamp(max=ceiling)
    kept = confidence > thresholds[flat]
    return torch.where(kept, flat, IGNORE).view_as(label)


def valid_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross entropy of the pixels that have a label.

    Args:
        logits: (B, C, H, W).
        labels: (B, H, W) int64, 255 where there is none.

    Returns:
        A scalar: the mean over the pixels that count, 0 if there are none.
    """
    total = functional.cross_entropy(logits.float(), labels, ignore_index=IGNORE, reduction="sum")
    return total / (labels != IGNORE).sum().clamp(min=1)
