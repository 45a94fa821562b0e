"""Core-set: the images that cover the others best in the space of features."""

import torch
from torch import Tensor, nn

from mmext.registry import ACQUISITIONS

from ..pool import Pool
from .base import Acquisition, Descriptors, Selection, candidates
from .features import pooled
from .k_center import core_set


@ACQUISITIONS.register_module()
class CoreSet(Acquisition):
    """k-centre greedy on pooled features, beginning with the labelled images.

    An image is described by the mean of each level of the neck's maps, the levels side by side.

    Source: Sener and Savarese, arXiv 1708.00489, the greedy algorithm with Euclidean distance.
    """

    needs_labeled = True

    def describe(self, model: nn.Module, batch: dict) -> list[dict[str, Tensor]]:
        """Compute the features without the head."""
        inputs = model.data_preprocessor(batch, False)["inputs"]
        return [dict(feature=feature) for feature in pooled(model.extract_feat(inputs)).float()]

    def select(self, descriptors: Descriptors, pool: Pool, count: int) -> Selection:
        """Choose the images that are farthest from all that are chosen or labelled."""
        images = candidates(descriptors, pool)
        points = torch.stack([descriptors[image]["feature"] for image in images])
        labeled = [descriptors[i]["feature"] for i in pool.labeled() if i in descriptors]
        centers = torch.stack(labeled) if labeled else points[:0]
        return Selection(sorted(images[i] for i in core_set(points, centers, count)))
