"""Images of the pool as data sets: by id, with labels or without, reproducible at any point."""

import copy
import hashlib
import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.dataset import BaseDataset, ConcatDataset, InfiniteSampler
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

from mmext.engine import ConfigError, seed_generators

# What may be known of an image without labels; whatever else the data set knows is left behind.
_UNLABELED_FIELDS = ("img_path", "img_id", "height", "width", "sample_idx")
_TRIES = 100


class PoolSource:
    """The data set behind a pool, addressed by image id.

    Args:
        dataset: A ``BaseDataset`` of mmengine's, or a ``ConcatDataset`` of such.

    Attributes:
        ids: Ids in the order of the data set; the pool refuses those that are there twice.

    Raises:
        ConfigError: The data set is of another kind.
    """

    def __init__(self, dataset: Dataset) -> None:
        parts = dataset.datasets if isinstance(dataset, ConcatDataset) else [dataset]
        for part in parts:
            if not isinstance(part, BaseDataset):
                raise ConfigError(
                    f"train_dataloader.dataset: {type(part).__name__} mixes or repeats images "
                    "itself, so that labels of the pool could leak. Expected a plain data set or a "
                    "ConcatDataset of such; to repeat, set repeat in the phase."
                )
        self.parts: list[BaseDataset] = list(parts)
        self.metainfo = self.parts[0].metainfo
        self.ids: list[str] = []
        self._places: dict[str, tuple[BaseDataset, int]] = {}
        for part in self.parts:
            for index in range(len(part)):
                image = _image_id(part, part.get_data_info(index)["img_path"])
                self.ids.append(image)
                self._places[image] = part, index

    def info(self, image: str, labeled: bool = True) -> dict:
        """Return what the data set knows of an image.

        Args:
            image: Id.
            labeled: False: only what is known before somebody has labelled it.
        """
        part, index = self._places[image]
        info = part.get_data_info(index)
        if labeled:
            return info
        return dict({key: info[key] for key in _UNLABELED_FIELDS if key in info}, instances=[])

    def pipeline(self, image: str) -> Any:
        """Return the transforms of the part that an image is in."""
        return self._places[image][0].pipeline

    def annotation_hash(self, image: str) -> str:
        """Return a hash of the boxes and labels of an image."""
        boxes = [
            [[float(v) for v in entry["bbox"]], entry["bbox_label"], entry.get("ignore_flag", 0)]
            for entry in self.info(image).get("instances", ())
        ]
        return hashlib.sha256(json.dumps(sorted(boxes)).encode()).hexdigest()[:16]


def _image_id(dataset: BaseDataset, path: str) -> str:
    root = dataset.data_root or ""
    if "://" in path or not root:
        return path.removeprefix(root).lstrip("/") if root else path
    return os.path.relpath(path, root).replace(os.sep, "/")


class PoolView(Dataset):
    """Some images of a pool as a data set.

    Each image is loaded with random numbers of its own, from the seed, the epoch and its place in
    the view: whatever was loaded before, in which process and by how many workers, the same crop
    comes out. So a resumed training sees what one sees that was never stopped.

    Args:
        source: The images.
        ids: Which of them.
        seed: Seed of what the pipeline draws.
        labeled: False: boxes and labels are removed before the first transform, and the samples
            say ``labeled=False`` in their metainfo.
        repeat: How often the images are in the view.
        pipeline: Transforms instead of those of the data set.
        with_truth: Also hand the instances of labelled images out as ``truth`` in the metainfo, in
            pixels of the original image.
    """

    def __init__(
        self,
        source: PoolSource,
        ids: Sequence[str],
        *,
        seed: int = 0,
        labeled: bool = True,
        repeat: int = 1,
        pipeline: Any = None,
        with_truth: bool = False,
    ) -> None:
        self.source = source
        self.ids = list(ids)
        self.seed = seed
        self.labeled = labeled
        self.repeat = repeat
        self.pipeline = pipeline
        self.with_truth = with_truth
        # In shared memory: workers that stay alive see the next epoch, too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    @property
    def metainfo(self) -> dict:
        """Classes and palette, as of the data set behind."""
        return self.source.metainfo

    def set_epoch(self, epoch: int) -> None:
        """Draw other random numbers than in the epochs before."""
        self._epoch.fill_(epoch)

    def __deepcopy__(self, memo: dict) -> "PoolView":
        """Share it: ``Runner.build_dataloader`` copies its config deeply, and the data with it."""
        return self

    def __len__(self) -> int:
        """Return the number of images in an epoch."""
        return len(self.ids) * self.repeat

    def get_data_info(self, index: int) -> dict:
        """Return what is known of an image: its path, its size and, if labelled, its boxes."""
        return self.source.info(self.ids[index % len(self.ids)], self.labeled)

    def __getitem__(self, index: int) -> dict:
        """Load an image.

        Raises:
            ConfigError: The pipeline drops one image after the other.
        """
        with _own_random_numbers(self.seed, int(self._epoch), index, int(self.labeled)):
            for _ in range(_TRIES):
                # Not the data set's own __getitem__: in place of an image that the pipeline drops
                # it takes any other, also one that is not labelled.
                packed = self._load(index)
                if packed is not None:
                    return packed
                index = random.randrange(len(self))
        raise ConfigError(
            f"train_dataloader.dataset.pipeline dropped {_TRIES} images "
            f"{'with' if self.labeled else 'without'} labels, the last is "
            f"{self.ids[index % len(self.ids)]}. Images without boxes have to pass: "
            "RandomCrop(allow_negative_crop=True), FilterAnnotations(keep_empty=False)."
        )

    def _load(self, index: int) -> dict | None:
        image = self.ids[index % len(self.ids)]
        info = self.source.info(image, self.labeled)
        truth = copy.deepcopy(info["instances"]) if self.with_truth and self.labeled else None
        packed = (self.pipeline or self.source.pipeline(image))(info)
        if packed is not None:
            packed["data_samples"].set_metainfo(dict(pool_id=image, labeled=self.labeled))
            if truth is not None:
                packed["data_samples"].set_metainfo(dict(truth=truth))
        return packed


@contextmanager
def _own_random_numbers(*key: int) -> Iterator[None]:
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seed_generators(key)
    yield
    random.setstate(kept[0])
    np.random.set_state(kept[1])
    torch.set_rng_state(kept[2])


class SkippingBatchSampler(Sampler):
    """Batches of another sampler's, from any position on.

    Args:
        sampler: Hands out the indices.
        batch_size: Images in a batch.
        drop_last: Whether a smaller last batch is left out.
        inner: Config of a batch sampler, such as ``AspectRatioBatchSampler``; None: torch's.
    """

    def __init__(
        self, sampler: Sampler, batch_size: int, drop_last: bool = False, inner: dict | None = None
    ) -> None:
        self.sampler = sampler
        if inner is None:
            self.batches = BatchSampler(sampler, batch_size, drop_last)
        else:
            own = dict(sampler=sampler, batch_size=batch_size)
            self.batches = DATA_SAMPLERS.build(inner, default_args=own)
        self.skipped = 0

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield batches, without those that are to be skipped in the epoch that begins."""
        skipped, self.skipped = self.skipped, 0
        for number, batch in enumerate(self.batches):
            if number >= skipped:
                yield batch


def build_loader(runner: Runner, cfg: Mapping, view: PoolView) -> DataLoader:
    """Build a training loader over a part of the pool.

    Args:
        runner: The runner.
        cfg: ``train_dataloader``; its ``dataset`` is not used.
        view: The images.

    Raises:
        ConfigError: The sampler has no epochs, or not one batch comes together.
    """
    cfg = {key: value for key, value in cfg.items() if key != "dataset"}
    cfg["batch_sampler"] = dict(
        type=SkippingBatchSampler,
        drop_last=cfg.pop("drop_last", False),
        inner=cfg.pop("batch_sampler", None),
    )
    loader = runner.build_dataloader({**cfg, "dataset": view}, seed=runner.seed)
    sampler = loader.batch_sampler.sampler
    if isinstance(sampler, InfiniteSampler) or not hasattr(sampler, "set_epoch"):
        raise ConfigError(
            f"train_dataloader.sampler: {type(sampler).__name__} knows no epochs, and a campaign "
            "counts in these. Expected dict(type='DefaultSampler', shuffle=True)."
        )
    if len(loader) == 0:
        raise ConfigError(
            f"train_dataloader: not one batch of {cfg.get('batch_size')} comes together from "
            f"{len(view)} images. Lower batch_size, set drop_last=False or begin with more images."
        )
    return loader


def epoch_of(loader: DataLoader, epoch: int, skip: int = 0) -> Iterator[dict]:
    """Yield the batches of an epoch.

    Args:
        loader: A loader of :func:`build_loader`.
        epoch: Number that decides order and random numbers.
        skip: Batches that were there before the training was stopped; they are not loaded.
    """
    loader.dataset.set_epoch(epoch)
    loader.batch_sampler.sampler.set_epoch(epoch)
    loader.batch_sampler.skipped = skip
    yield from loader
