"""CDAL: images whose confusions between classes differ from those of the labelled ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmext.registry import ACQUISITIONS

from ..pool import Pool
from .base import Acquisition, Descriptors, Selection, candidates
from .detections import detect, number_of_classes, sample_distributions
from .k_center import k_center_greedy

_CHUNK = 1024
# Below the usual score_thr of 0.05: a class that was not found is no proof that it is not there.
_UNSEEN = 0.01


@dataclass(frozen=True)
class Contexts:
    """The mixtures of some images, in the form that makes distances products of matrices.

    Attributes:
        present: (N, C) 1 where a class was found.
        mixtures: (N, C * (C + 1)), 0 where the class was not found.
        logarithms: Their logarithms, 0 where the class was not found.
        entropies: (N, C) sums of p log p.
    """

    present: Tensor
    mixtures: Tensor
    logarithms: Tensor
    entropies: Tensor

    @classmethod
    def stack(cls, mixtures: Sequence[Tensor]) -> "Contexts":
        """Stack the (C, C + 1) mixtures of images; rows of zeros are classes not found."""
        stacked = torch.stack(list(mixtures))
        present = (stacked.sum(2) > 0).float()
        smooth = (stacked + _UNSEEN) / (1 + _UNSEEN * stacked.shape[2]) * present[..., None]
        logarithms = torch.where(smooth > 0, smooth, 1.0).log()
        entropies = (smooth * logarithms).sum(2)
        return cls(present, smooth.flatten(1), logarithms.flatten(1), entropies)

    def part(self, index: slice) -> "Contexts":
        """Return some of the images."""
        fields = (self.present, self.mixtures, self.logarithms, self.entropies)
        return Contexts(*(field[index] for field in fields))


def contextual_diversity(ours: Contexts, theirs: Contexts) -> Tensor:
    """Return (N, M): the symmetric KL divergence of the mixtures of the classes in both images.

    Source: CDAL (Agarwal et al., arXiv 2008.05723), equation 4.
    """
    own = ours.entropies @ theirs.present.T + ours.present @ theirs.entropies.T
    crossed = ours.mixtures @ theirs.logarithms.T + ours.logarithms @ theirs.mixtures.T
    return (0.5 * (own - crossed)).clamp(min=0)


@ACQUISITIONS.register_module()
class CDAL(Acquisition):
    """k-centre greedy by contextual diversity, beginning with the labelled images (CDAL-CS).

    For each class the distributions of the detections of that class are averaged, by entropy: the
    mixture says with what the model confuses the class in this image.

    Source: CDAL (Agarwal et al., arXiv 2008.05723), section 3. There the distributions are the
    softmax of all regions; here they are those of the detections, so that any detector will do
    (:func:`~mmext.active_learning.acquisitions.detections.class_distributions`).
    """

    needs_labeled = True

    def describe(self, model: nn.Module, batch: dict) -> list[dict[str, Tensor]]:
        """Compute (C, C + 1) mixtures."""
        classes = number_of_classes(model)
        mixtures = []
        for sample in detect(model, batch):
            each = sample_distributions(sample, classes)
            weights = torch.special.entr(each).sum(1, keepdim=True) + 1e-6
            labels = sample.pred_instances.labels
            total = each.new_zeros(classes, classes + 1).index_add_(0, labels, weights * each)
            mixtures.append(dict(mixture=total / total.sum(1, keepdim=True).clamp(min=1e-12)))
        return mixtures

    def select(self, descriptors: Descriptors, pool: Pool, count: int) -> Selection:
        """Choose the images that are farthest from all that are chosen or labelled."""
        images = candidates(descriptors, pool)
        points = Contexts.stack([descriptors[image]["mixture"] for image in images])
        nearest = torch.full((len(images),), torch.inf)
        labeled = [descriptors[i]["mixture"] for i in pool.labeled() if i in descriptors]
        if labeled:
            centers = Contexts.stack(labeled)
            for begin in range(0, len(labeled), _CHUNK):
                part = centers.part(slice(begin, begin + _CHUNK))
                nearest = torch.minimum(nearest, contextual_diversity(points, part).amin(1))

        def distances_to(index: int) -> Tensor:
            return contextual_diversity(points, points.part(slice(index, index + 1)))[:, 0]

        chosen = k_center_greedy(distances_to, nearest, count)
        return Selection(sorted(images[index] for index in chosen))
