"""Detections and ground truth of a whole data set, as columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Labelled quadrilaterals in named images.

    Attributes:
        images: Names of the images, each once; images without objects count too.
        image: (N,) index into ``images`` of each object.
        label: (N,) class of each object, from 0.
        corners: (N, 4, 2) corners in pixels of the image.
    """

    images: tuple[str, ...]
    image: np.ndarray
    label: np.ndarray
    corners: np.ndarray

    def __post_init__(self) -> None:
        if len(set(self.images)) != len(self.images):
            twice = next(name for name in self.images if self.images.count(name) > 1)
            raise ValueError(f"image {twice!r} is listed twice: image names have to be unique")
        bad = ~np.isfinite(self.corners).all(axis=(1, 2))
        if bad.any():
            name = self.images[self.image[np.argmax(bad)]]
            raise ValueError(
                f"{bad.sum()} boxes have NaN or infinite coordinates, the first in image {name!r}: "
                "expected finite numbers (pixels)"
            )

    def __len__(self) -> int:
        return len(self.image)

    def select(self, mask: np.ndarray) -> "Objects":
        """Return the objects of a mask or of indices; the images stay."""
        columns = {
            name: value[mask] for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        return replace(self, **columns)


@dataclass(frozen=True, kw_only=True)
class Detections(Objects):
    """Detected quadrilaterals.

    Attributes:
        score: (N,) float64 confidences; only their order matters.
    """

    score: np.ndarray

    def __post_init__(self) -> None:
        super().__post_init__()
        bad = ~np.isfinite(self.score)
        if bad.any():
            name = self.images[self.image[np.argmax(bad)]]
            raise ValueError(
                f"{bad.sum()} scores are NaN or infinite, the first in image {name!r}: expected "
                "finite numbers; the model that made them has diverged"
            )


@dataclass(frozen=True, kw_only=True)
class GroundTruth(Objects):
    """True quadrilaterals.

    Attributes:
        difficult: (N,) bool: objects that are neither to be found nor a fault to find.
    """

    difficult: np.ndarray


def join_detections(
    names: Sequence[str],
    corners: Sequence[np.ndarray],
    scores: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
) -> Detections:
    """Put the detections of single images together.

    Args:
        names: Name of each image; must be unique.
        corners: (n_i, 4, 2) of each image.
        scores: (n_i,) of each image.
        labels: (n_i,) of each image.
    """
    image, corners, label = _columns(corners, labels)
    score = np.concatenate([np.zeros(0), *scores]).astype(np.float64)
    return Detections(images=tuple(names), image=image, label=label, corners=corners, score=score)


def join_ground_truth(
    names: Sequence[str],
    corners: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    difficult: Sequence[np.ndarray],
) -> GroundTruth:
    """Put the objects of single images together; arguments as :func:`join_detections`.

    Args:
        names: Name of each image; must be unique.
        corners: (n_i, 4, 2) of each image.
        labels: (n_i,) of each image.
        difficult: (n_i,) bool of each image.
    """
    image, corners, label = _columns(corners, labels)
    flags = np.concatenate([np.zeros(0, bool), *difficult]).astype(bool)
    return GroundTruth(
        images=tuple(names), image=image, label=label, corners=corners, difficult=flags
    )


def _columns(
    corners: Sequence[np.ndarray], labels: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = np.repeat(np.arange(len(corners)), [len(part) for part in corners])
    joined = np.concatenate([np.zeros((0, 4, 2)), *corners]).astype(np.float64)
    return image, joined, np.concatenate([np.zeros(0, np.int64), *labels]).astype(np.int64)
