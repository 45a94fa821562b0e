"""Uncertainty of detections: entropy, least confidence, margin."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from mmext.registry import ACQUISITIONS

from .base import ScoreAcquisition
from .detections import detect, number_of_classes, sample_distributions

_REDUCE = {"max": torch.amax, "mean": torch.mean, "sum": torch.sum}


class _Uncertainty(ScoreAcquisition):
    def __init__(self, reduce: str = "max") -> None:
        if reduce not in _REDUCE:
            raise ValueError(f"reduce is {reduce!r}: expected one of {list(_REDUCE)}")
        self.reduce = reduce

    @abstractmethod
    def uncertainty(self, distributions: Tensor) -> Tensor:
        """Return (N,) uncertainties of (N, C + 1) distributions."""

    def describe(self, model: nn.Module, batch: dict) -> list[dict[str, Tensor]]:
        """Reduce the uncertainties of the detections to a score; without detections it is 0."""
        classes = number_of_classes(model)
        scores = []
        for sample in detect(model, batch):
            each = self.uncertainty(sample_distributions(sample, classes))
            reduced = _REDUCE[self.reduce](each, 0) if len(each) else each.new_zeros(())
            scores.append(dict(score=reduced))
        return scores


@ACQUISITIONS.register_module()
class Entropy(_Uncertainty):
    """Entropy over classes and background; with one class that of the score.

    Args:
        reduce: ``'max'``, ``'mean'`` or ``'sum'`` over the detections of an image.

    Source: Brust et al., arXiv 1809.09875, and Roy et al. (BMVC 2018) for detectors; for the
    distributions see :func:`~mmext.active_learning.acquisitions.detections.class_distributions`.
    """

    def uncertainty(self, distributions: Tensor) -> Tensor:
        """Return the entropies in nats."""
        return torch.special.entr(distributions).sum(1)


@ACQUISITIONS.register_module()
class LeastConfidence(_Uncertainty):
    """One minus the probability of what is most probable, a class or background.

    Args:
        reduce: ``'max'``, ``'mean'`` or ``'sum'`` over the detections of an image.
    """

    def uncertainty(self, distributions: Tensor) -> Tensor:
        """Return 1 - max p."""
        return 1 - distributions.amax(1)


@ACQUISITIONS.register_module()
class Margin(_Uncertainty):
    """One minus the distance of the two most probable of classes and background (1-vs-2).

    Args:
        reduce: ``'max'``, ``'mean'`` or ``'sum'`` over the detections of an image.

    Source: Brust et al., arXiv 1809.09875, section 3.2: (1 - (p1 - p2))^2; without the square
    here, which changes the order of images only for ``'mean'`` and ``'sum'``.
    """

    def uncertainty(self, distributions: Tensor) -> Tensor:
        """Return 1 - (p1 - p2)."""
        first, second = distributions.topk(2, 1).values.unbind(1)
        return 1 - (first - second)
