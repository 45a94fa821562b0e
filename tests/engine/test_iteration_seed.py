"""Random numbers by the iteration's number: found again when a training is resumed."""

import random
from types import SimpleNamespace

import numpy as np
import torch

from mmext.engine import IterationSeedHook


def numbers() -> tuple[float, float, float]:
    return random.random(), np.random.random(), float(torch.rand(()))


def draw(first: int, seed: int = 0) -> list[tuple[float, float, float]]:
    """Return what iterations up to the fifth draw for loading and for learning."""
    hook, runner = IterationSeedHook(), SimpleNamespace(iter=first, seed=seed)
    drawn = []
    hook.before_train_epoch(runner)
    for iteration in range(first, 5):
        runner.iter = iteration
        drawn.append(numbers())
        hook.before_train_iter(runner, batch_idx=iteration)
        drawn.append(numbers())
        hook.after_train_iter(runner, batch_idx=iteration)
    return drawn


def test_a_resumed_training_draws_what_an_uninterrupted_one_does():
    whole = draw(0)
    torch.rand(7)
    assert draw(3) == whole[6:]


def test_iterations_and_seeds_draw_other_numbers():
    drawn = [number for numbers in draw(0) + draw(0, seed=1) for number in numbers]
    assert len(set(drawn)) == len(drawn)
