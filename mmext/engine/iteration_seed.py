"""Random numbers that a training finds again when it is resumed."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmext.registry import HOOKS

_LOAD, _LEARN = 0, 1


@HOOKS.register_module()
class IterationSeedHook(Hook):
    """Draws the random numbers of each iteration from the seed and the number of the iteration.

    A checkpoint of mmengine's does not hold the state of the random generators, so that a training
    that is resumed sees other crops, drops other features and takes other images out of an image
    pool than one that was never stopped. With this hook both end with the same weights, as long as
    the data are loaded in the process itself (``num_workers=0``); workers have generators of their
    own.
    """

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the loading of the first batch."""
        _seed(runner, runner.iter, _LOAD)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None
    ) -> None:
        """Seed the step: the batch is there already."""
        _seed(runner, runner.iter, _LEARN)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Seed the loading of the next batch."""
        _seed(runner, runner.iter + 1, _LOAD)


def seed_generators(key: Sequence[int]) -> None:
    """Seed the generators of torch, numpy and Python with numbers drawn from a key.

    Args:
        key: What the numbers depend on, such as seed, process and iteration; not negative.
    """
    for_torch, for_numpy, for_python = np.random.SeedSequence(key).generate_state(3).tolist()
    torch.manual_seed(for_torch)
    np.random.seed(for_numpy)
    random.seed(for_python)


def _seed(runner: Runner, iteration: int, purpose: int) -> None:
    seed_generators((runner.seed, get_rank(), iteration, purpose))
