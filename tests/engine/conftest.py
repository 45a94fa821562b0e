"""Fixtures over the tiny detection task."""

from pathlib import Path

import pytest
from mmengine.config import Config
from tiny_detection import tiny_config, write_coco


@pytest.fixture
def coco_root(tmp_path: Path) -> Path:
    """A folder with a COCO json of eight small images."""
    write_coco(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def config(coco_root: Path, tmp_path: Path) -> Config:
    """A config that trains three iterations on ``coco_root``."""
    return tiny_config(coco_root, tmp_path / "work")
