"""What every test shares: the same random numbers each time, and small fixtures."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from yapf.yapflib import yapf_api

LONG = ("learn", "packaging", "sweep")

# mmengine formats the whole config for each log and each checkpoint, a second of yapf every time:
# most of what a training of a few iterations takes. Unformatted text is as good a config.
yapf_api.FormatCode = lambda text, *args, **kwargs: (text, False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, or one worker ends minutes after the others."""
    long = {item.path for item in items if any(map(item.get_closest_marker, LONG))}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _independent() -> Iterator[None]:
    """Seed every generator; take back what a test changed for the whole process."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    DefaultScope._instance_dict.clear()  # a runner sets the scope of all that is built after it
