"""Rare class sampling: images are drawn such that rare classes are seen more often.

Source: Hoyer et al., "DAFormer", CVPR 2022, section 3.3 (equations 7 and 8); the redrawing of crops
as in its code.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import mmengine.fileio
import numpy as np
import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log

from mmext.files import replacing

from .folders import FolderSegDataset
from .loading import decode_label_ids

_SAVE_EVERY = 500
_PENDING = -1


class Draw(NamedTuple):
    """An image, and the class for which it was drawn."""

    index: int
    rare_class: int


def class_probabilities(pixels: np.ndarray, temperature: float) -> np.ndarray:
    """Return how likely each class is drawn.

    Args:
        pixels: (C,) number of pixels of each class in the data set.
        temperature: Small ones favour rare classes, large ones none.

    Returns:
        (C,) ``softmax((1 - f) / temperature)`` with the frequencies f, over the classes that occur;
        0 for the others.
    """
    share = pixels / max(pixels.sum(), 1)
    weight = np.where(pixels > 0, (1 - share) / temperature, -np.inf)
    weight = np.exp(weight - weight.max())
    return weight / weight.sum()


def count_class_pixels(dataset: FolderSegDataset, file: Path) -> np.ndarray:
    """Count the pixels of each class in each label file, or read the counts of an earlier call.

    The counts are saved every few hundred files; a call that was stopped is continued.

    Args:
        dataset: A data set with labels.
        file: npz file of the counts.

    Returns:
        (N, C) int64.

    Raises:
        ValueError: ``file`` holds the counts of another data set, or there are no labels.
    """
    shape = (len(dataset), len(dataset.metainfo["classes"]))
    if "seg_map_path" not in dataset.data_prefix:
        raise ValueError("rare_class_sampling needs label files: data_prefix has no seg_map_path")
    counts = np.full(shape, _PENDING, np.int64)
    if file.is_file():
        with np.load(file) as stored:
            counts = stored["counts"]
        if counts.shape != shape:
            raise ValueError(
                f"{file} counts {counts.shape[1]} classes in {counts.shape[0]} files, the data set "
                f"has {shape[1]} and {shape[0]}. Remove the file, or name another one."
            )
    pending = np.flatnonzero(counts[:, 0] == _PENDING)
    for done, index in enumerate(pending.tolist(), 1):
        path = dataset.get_data_info(index)["seg_map_path"]
        labels = dataset.label_table.apply(decode_label_ids(mmengine.fileio.get(path), path), path)
        counts[index] = np.bincount(labels.ravel(), minlength=256)[: shape[1]]
        if done % _SAVE_EVERY == 0 or done == len(pending):
            _save(file, counts)
            print_log(f"counted classes in {done} of {len(pending)} label files", logger="current")
    return counts


def _save(file: Path, counts: np.ndarray) -> None:
    with replacing(file) as part:
        np.savez_compressed(part, counts=counts)


class RareClasses:
    """Draws images of a source by class: first a class, rare ones more often, then an image of it.

    Args:
        dataset: The source.
        statistics: npz file of the class counts; made at the first use.
        temperature: As for :func:`class_probabilities` (DAFormer: 0.01).
        min_pixels: An image is one of a class with so many pixels of it (DAFormer: 3000).
        min_crop_ratio: What the pipeline makes of the image must show this share of
            ``min_pixels``, else it is run again (DAFormer: 0.5).
        max_tries: How often it is run at most (DAFormer: 10).
    """

    def __init__(
        self,
        dataset: FolderSegDataset,
        *,
        statistics: str,
        temperature: float = 0.01,
        min_pixels: int = 3000,
        min_crop_ratio: float = 0.5,
        max_tries: int = 10,
    ) -> None:
        file = Path(statistics)
        if is_main_process():
            count_class_pixels(dataset, file)
        barrier()
        counts = count_class_pixels(dataset, file)
        self.images = [np.flatnonzero(column > min_pixels) for column in counts.T]
        known = np.array([len(images) > 0 for images in self.images])
        if not known.any():
            raise ValueError(
                f"no image has more than min_pixels={min_pixels} pixels of a class: lower "
                "rare_class_sampling.min_pixels."
            )
        self.probabilities = class_probabilities(counts.sum(axis=0) * known, temperature)
        self.needed = min_pixels * min_crop_ratio
        self.max_tries = max_tries

    def draws(self, generator: torch.Generator) -> Iterator[Draw]:
        """Yield draws without end."""
        weights = torch.from_numpy(self.probabilities)
        while True:
            drawn = int(torch.multinomial(weights, 1, generator=generator))
            images = self.images[drawn]
            number = int(torch.randint(len(images), (1,), generator=generator))
            yield Draw(int(images[number]), drawn)

    def load(self, dataset: Any, draw: Draw) -> dict:
        """Run the pipeline on a drawn image until the class is in sight, or tries run out."""
        for _ in range(self.max_tries):
            item = dataset[draw.index]
            if (item["data_samples"].gt_sem_seg.data == draw.rare_class).sum() > self.needed:
                break
        return item
