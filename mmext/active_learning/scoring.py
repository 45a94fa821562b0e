"""Running a detector over the pool, and letting an acquisition choose."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.dist import all_gather_object, broadcast_object_list, get_dist_info
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmext.engine import ConfigError
from mmext.engine.preflight import walk

from .acquisitions.base import Acquisition, Selection
from .data import PoolSource, PoolView
from .phases import unwrap
from .pool import Pool


@dataclass(frozen=True)
class Scoring:
    """How the pool is looked at.

    Attributes:
        batch_size: Images in a batch; None: as in validation.
        num_workers: Worker processes; None: as in validation.
        subset: Share of the unlabelled images that is looked at, drawn anew in each cycle (MI-AOD's
            official COCO config: 0.2); None: all.
    """

    batch_size: int | None = None
    num_workers: int | None = None
    subset: float | None = None

    def __post_init__(self) -> None:
        """Check the share.

        Raises:
            ConfigError: It is none.
        """
        if self.subset is not None and not 0 < self.subset <= 1:
            raise ConfigError(f"train_cfg.scoring.subset is {self.subset}: expected (0, 1].")


def select_images(
    runner: Runner,
    acquisition: Acquisition,
    source: PoolSource,
    pool: Pool,
    count: int,
    scoring: Scoring,
) -> Selection:
    """Describe the pool with the model as it is and select; every process gets the same images.

    Args:
        runner: Has the model, and the test pipeline in its config.
        acquisition: What selects.
        source: The images.
        pool: Which of them are labelled.
        count: How many to select.
        scoring: How the pool is looked at.
    """
    images = _candidates(pool, count, scoring)
    if acquisition.needs_model:
        described = _describe(runner, acquisition, source, images, scoring, labeled=False)
        if acquisition.needs_labeled:
            labeled = pool.labeled()
            described |= _describe(runner, acquisition, source, labeled, scoring, labeled=True)
    else:
        described = {image: {} for image in images}
    chosen = [None]
    if get_dist_info()[0] == 0:
        chosen = [acquisition.select(described, pool, count)]
    broadcast_object_list(chosen)
    return chosen[0]


def _candidates(pool: Pool, count: int, scoring: Scoring) -> list[str]:
    images = pool.unlabeled()
    if scoring.subset is None:
        return images
    size = max(count, round(len(images) * scoring.subset))
    drawn = pool.generator("subset").choice(len(images), size, replace=False)
    return sorted(images[index] for index in drawn)


def _describe(
    runner: Runner,
    acquisition: Acquisition,
    source: PoolSource,
    images: Sequence[str],
    scoring: Scoring,
    *,
    labeled: bool,
) -> dict[str, dict[str, Tensor]]:
    """Describe images, each process its share of them; every process gets all descriptions."""
    rank, world = get_dist_info()
    view = PoolView(
        source,
        images[rank::world],
        labeled=labeled,
        with_truth=labeled,
        pipeline=Compose(test_pipeline(runner.cfg)),
    )
    model = unwrap(runner.model).eval()
    own: dict[str, dict[str, Tensor]] = {}
    with torch.no_grad():
        for batch in _with_progress(_loader(runner.cfg, view, scoring), len(view)):
            ids = [sample.pool_id for sample in batch["data_samples"]]
            own.update(zip(ids, describe_batch(acquisition, model, batch), strict=True))
    # NCCL cannot gather objects in one process alone.
    return {image: kept for part in all_gather_object(own) for image, kept in part.items()}


def describe_batch(
    acquisition: Acquisition, model: nn.Module, batch: dict
) -> list[dict[str, Tensor]]:
    """Let an acquisition describe a batch, and take what it keeps to the CPU."""
    return [
        {name: value.detach().cpu() for name, value in kept.items()}
        for kept in acquisition.describe(model, batch)
    ]


def test_pipeline(cfg: Config) -> list[dict]:
    """Return the transforms of the config's validation, or else of its test.

    Raises:
        ConfigError: It has neither.
    """
    for split in ("val", "test"):
        loader = cfg.get(f"{split}_dataloader") or {}
        for _, node in walk(loader.get("dataset"), ""):
            if node.get("pipeline"):
                return node["pipeline"]
    raise ConfigError(
        "the pool is described with the pipeline of val_dataloader.dataset, or else of "
        "test_dataloader.dataset, and neither is there. Add one."
    )


def _loader(cfg: Config, view: PoolView, scoring: Scoring) -> DataLoader:
    validation = cfg.get("val_dataloader") or cfg.test_dataloader
    size, workers = scoring.batch_size, scoring.num_workers
    return DataLoader(
        view,
        batch_size=validation.get("batch_size", 1) if size is None else size,
        num_workers=validation.get("num_workers", 0) if workers is None else workers,
        collate_fn=pseudo_collate,
    )


def _with_progress(loader: DataLoader, images: int) -> Iterator[dict]:
    """Yield the batches and log ten times how far it is."""
    begin, said, done = time.perf_counter(), 0, 0
    for batch in loader:
        yield batch
        done += len(batch["data_samples"])
        if done * 10 // images > said or done == images:
            said = done * 10 // images
            rate = done / (time.perf_counter() - begin)
            left = (images - done) / rate
            message = f"described {done}/{images} images, {rate:.1f} images/s, {left:.0f} s left"
            print_log(message, logger="current")
