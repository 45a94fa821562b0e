"""Features of a detector while it predicts."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def captured_features(detector: nn.Module) -> Iterator[list[tuple[Tensor, ...]]]:
    """Note the feature maps that a detector computes in the meantime.

    Args:
        detector: Any mmdet detector with a backbone and perhaps a neck.

    Yields:
        A list that gets the maps of each forward pass, those of the neck, else of the backbone.
    """
    noted: list[tuple[Tensor, ...]] = []
    detector = getattr(detector, "detector", detector)  # within a LearningLossDetector
    part = detector.neck if detector.with_neck else detector.backbone

    def note(module: nn.Module, inputs: tuple, maps: Tensor | tuple[Tensor, ...]) -> None:
        noted.append((maps,) if isinstance(maps, Tensor) else tuple(maps))

    handle = part.register_forward_hook(note)
    try:
        yield noted
    finally:
        handle.remove()


def pooled(maps: tuple[Tensor, ...]) -> Tensor:
    """Average each map over its positions and join the levels.

    Args:
        maps: Of each level (B, C, H, W).

    Returns:
        (B, L * C).
    """
    return torch.cat([level.mean((2, 3)) for level in maps], 1)
