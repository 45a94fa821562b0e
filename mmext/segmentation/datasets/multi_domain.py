"""Several labelled sources and unlabelled targets as one data set."""

import bisect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.dataset import BaseDataset, Compose
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Dataset, Sampler

from mmext.registry import DATA_SAMPLERS, DATASETS

from .pseudo import PseudoLabelDataset, image_info, loads_labels, unlabelled
from .rare_classes import Draw, RareClasses

ROLE, DOMAIN = "role", "domain"
"""Keys of a sample's metainfo: ``'source'`` or ``'target'``, and the name of the domain."""


class _Target:
    """A target's images under its pipeline; its labels are neither known nor asked for."""

    def __init__(self, config: dict, where: str) -> None:
        self.images = unlabelled(config, where)
        self.metainfo = self.images.metainfo
        self.pipeline = Compose(config.get("pipeline", []))
        loader = loads_labels(self.pipeline)
        if loader is not None:
            raise ValueError(
                f"{where}.pipeline has {loader}. Labels of targets are never read in training: "
                "remove it. To learn from pseudo labels, wrap the data set in "
                "mmext.PseudoLabelDataset."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        item = self.pipeline(image_info(self.images, index))
        if "gt_sem_seg" in item["data_samples"]:
            raise ValueError(
                f"the pipeline of a target has loaded labels for {item['data_samples'].img_path}: "
                "remove what loads them."
            )
        return item


@DATASETS.register_module()
class MultiDomainDataset(Dataset):
    """Labelled sources and unlabelled targets: an item is an image of each.

    Labels of targets cannot leak: the folder of label files is taken out of a target's
    ``data_prefix`` before the folders are read, so that not even their names are known; a pipeline
    that loads labels is refused, and so is a sample that has some. The one exception says so by its
    name, :class:`PseudoLabelDataset`.

    Args:
        sources: Config of a data set for each source, by the name of the domain.
        targets: Likewise for the targets.
        rare_class_sampling: For names of sources, the arguments of :class:`RareClasses`: their
            images are drawn such that rare classes are seen more often.
    """

    def __init__(
        self,
        *,
        sources: Mapping[str, dict],
        targets: Mapping[str, dict] = {},
        rare_class_sampling: Mapping[str, dict] = {},
    ) -> None:
        both = sources.keys() & targets.keys()
        if not sources or both:
            raise ValueError(
                f"MultiDomainDataset has the sources {list(sources)} and the targets "
                f"{list(targets)}. Expected at least one source, and different names."
            )
        self.sources: dict[str, BaseDataset] = {
            name: DATASETS.build(config) for name, config in sources.items()
        }
        self.targets = {name: _target(config, name) for name, config in targets.items()}
        self.domains = {**self.sources, **self.targets}
        _require_equal_classes(self.domains)
        unknown = rare_class_sampling.keys() - self.sources.keys()
        if unknown:
            raise ValueError(
                f"rare_class_sampling has {sorted(unknown)}: expected names of sources, "
                f"{list(self.sources)}."
            )
        self.rare_classes = {
            name: RareClasses(self.sources[name], **config)
            for name, config in rare_class_sampling.items()
        }

    @property
    def metainfo(self) -> dict:
        """Classes and palette, those of the first source."""
        return next(iter(self.sources.values())).metainfo

    def full_init(self) -> None:
        """Nothing is left to do: mm's loops call this of every data set."""

    def __len__(self) -> int:
        """Return the number of images of the largest source."""
        return max(len(dataset) for dataset in self.sources.values())

    def __getitem__(self, index: int | Sequence[Draw | int]) -> dict[str, dict[str, Any]]:
        """Return an image of each domain.

        Args:
            index: What :class:`MultiDomainSampler` gives: an index, or a draw with the class that
                it is for, for each domain. A single index is taken modulo each domain's size.

        Returns:
            ``inputs`` and ``data_samples``, each by the name of the domain.
        """
        picks = [index] * len(self.domains) if isinstance(index, int) else index
        item: dict[str, dict] = dict(inputs={}, data_samples={})
        for (name, dataset), pick in zip(self.domains.items(), picks, strict=True):
            if isinstance(pick, Draw):
                loaded = self.rare_classes[name].load(dataset, pick)
            else:
                loaded = dataset[pick % len(dataset)]
            role = "source" if name in self.sources else "target"
            loaded["data_samples"].set_metainfo({DOMAIN: name, ROLE: role})
            item["inputs"][name] = loaded["inputs"]
            item["data_samples"][name] = loaded["data_samples"]
        return item


def _target(config: dict, name: str) -> _Target | PseudoLabelDataset:
    if config.get("type") in ("mmext.PseudoLabelDataset", PseudoLabelDataset):
        return DATASETS.build(config)
    return _Target(config, f"targets.{name}")


def _require_equal_classes(domains: Mapping[str, Any]) -> None:
    (first, dataset), *others = domains.items()
    expected = tuple(dataset.metainfo["classes"])
    for name, other in others:
        found = tuple(other.metainfo["classes"])
        if found != expected:
            raise ValueError(
                f"{first!r} has the {len(expected)} classes {expected}, {name!r} the {len(found)} "
                f"classes {found}. Expected the same for all domains: set class_set."
            )


@DATA_SAMPLERS.register_module()
class MultiDomainSampler(Sampler):
    """Endless sampler that goes through each domain in its own random order.

    As the official training codes do: every image of a domain is seen once before one is seen
    again, whatever the sizes of the others. Sources under rare class sampling are drawn by it.

    Args:
        dataset: A :class:`MultiDomainDataset`.
        seed: Seed, the same in all processes; None: agreed on between them.
        shuffle: False: in the order of the files, for tests.
    """

    def __init__(
        self, dataset: MultiDomainDataset, seed: int | None = None, shuffle: bool = True
    ) -> None:
        self.dataset = dataset
        self.seed = sync_random_seed() if seed is None else seed
        self.shuffle = shuffle
        self._start = 0

    def __iter__(self) -> Iterator[tuple[Draw | int, ...]]:
        """Yield an index, or a draw, for each domain."""
        streams = [self._stream(number, name) for number, name in enumerate(self.dataset.domains)]
        rank, world_size = get_dist_info()
        begin = self._start * world_size + rank
        yield from itertools.islice(zip(*streams, strict=True), begin, None, world_size)

    def __len__(self) -> int:
        """Return the number of items after which the largest source has been seen once."""
        return len(self.dataset)

    def skip(self, num_samples: int) -> None:
        """Begin after ``num_samples`` items of this process: mm's loops resume with it."""
        self._start = num_samples

    def set_epoch(self, epoch: int) -> None:
        """Nothing to do: the stream does not know epochs."""

    def _stream(self, number: int, name: str) -> Iterator[Draw | int]:
        generator = torch.Generator()
        generator.manual_seed(self.seed * 1009 + number)
        if name in self.dataset.rare_classes:
            yield from self.dataset.rare_classes[name].draws(generator)
        size = len(self.dataset.domains[name])
        while True:
            if self.shuffle:
                yield from torch.randperm(size, generator=generator).tolist()
            else:
                yield from range(size)


@DATASETS.register_module()
class DomainConcatDataset(Dataset):
    """Several domains one after the other, for evaluating a model on each of them.

    Each sample says which domain it is of; ``UDAIoUMetric`` prints a row for each.

    Args:
        datasets: Config of a data set for each domain, by its name.
    """

    def __init__(self, *, datasets: Mapping[str, dict]) -> None:
        self.datasets = {name: DATASETS.build(config) for name, config in datasets.items()}
        _require_equal_classes(self.datasets)
        self._ends = list(itertools.accumulate(len(d) for d in self.datasets.values()))

    @property
    def metainfo(self) -> dict:
        """Classes and palette, the same for all."""
        return next(iter(self.datasets.values())).metainfo

    def full_init(self) -> None:
        """Nothing is left to do: mm's loops call this of every data set."""

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> dict:
        """Return a sample with the name of its domain."""
        number = bisect.bisect_right(self._ends, index)
        name = list(self.datasets)[number]
        dataset = self.datasets[name]
        item = dataset[index - self._ends[number] + len(dataset)]
        item["data_samples"].set_metainfo({DOMAIN: name})
        return item
