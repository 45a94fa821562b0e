"""What every acquisition is: it describes images with a model, and selects by descriptions."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from mmext.registry import ACQUISITIONS

from ..pool import Pool, top_scoring

Descriptors = Mapping[str, Mapping[str, Tensor]]
"""By image id, what an acquisition keeps of an image: small tensors on the CPU, by name."""


@dataclass(frozen=True)
class Selection:
    """What is labelled next.

    Attributes:
        images: Ids, sorted.
        scores: Why, by id, where the acquisition has scores; higher ones were preferred.
    """

    images: list[str]
    scores: Mapping[str, float] = field(default_factory=dict)


class Acquisition(ABC):
    """Chooses the images to label next; any training and any mmdet detector go with it.

    Attributes:
        needs_model: False: nothing is computed, ``describe`` is not called.
        needs_labeled: Whether labelled images are described, too.
    """

    needs_model = True
    needs_labeled = False

    @abstractmethod
    def describe(self, model: nn.Module, batch: dict) -> list[dict[str, Tensor]]:
        """Describe the images of a batch.

        Args:
            model: The detector, in evaluation mode, without gradients.
            batch: As a test data loader hands it out. Its samples have ``pool_id`` and ``labeled``
                in their metainfo, those of labelled images also ``truth``, their instances.

        Returns:
            For each image, small tensors by name; they are kept on the CPU until the selection.
        """

    @abstractmethod
    def select(self, descriptors: Descriptors, pool: Pool, count: int) -> Selection:
        """Select images.

        Args:
            descriptors: Of the candidates, and of the labelled images if they are needed.
            pool: Which images are labelled; source of random numbers.
            count: How many, not more than there are candidates.
        """


class ScoreAcquisition(Acquisition):
    """Acquisition that selects the images of the highest score."""

    def select(self, descriptors: Descriptors, pool: Pool, count: int) -> Selection:
        """Select the ``count`` images with the highest ``score``."""
        images = candidates(descriptors, pool)
        scores = [float(descriptors[image]["score"]) for image in images]
        chosen = top_scoring(images, scores, count)
        by_image = dict(zip(images, scores, strict=True))
        return Selection(chosen, {image: by_image[image] for image in chosen})


def candidates(descriptors: Descriptors, pool: Pool) -> list[str]:
    """Return the sorted ids of the unlabelled images that are described."""
    return [image for image in pool.unlabeled() if image in descriptors]


@ACQUISITIONS.register_module()
class Random(Acquisition):
    """Any images: what every other acquisition has to be better than."""

    needs_model = False

    def describe(self, model: nn.Module, batch: dict) -> list[dict[str, Tensor]]:
        """Keep nothing."""
        return [{} for _ in batch["data_samples"]]

    def select(self, descriptors: Descriptors, pool: Pool, count: int) -> Selection:
        """Draw ``count`` of the candidates."""
        images = candidates(descriptors, pool)
        drawn = pool.generator("random").choice(len(images), count, replace=False)
        return Selection(sorted(images[index] for index in drawn))
