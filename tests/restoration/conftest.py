"""Small pairs of images, and the numbers of the official code."""

from pathlib import Path

import pytest
from official_restoration import official, pair
from tiny_restoration import write_pairs

__all__ = ["folders", "official", "pair"]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Eight pairs below ``noisy`` and ``clean``."""
    return write_pairs(tmp_path / "data")
