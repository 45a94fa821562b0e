"""Fixtures over the tiny adaptation task."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from tiny_segmentation import tiny_config, write_domains

from mmext.engine import import_host


@pytest.fixture(autouse=True)
def _mmseg() -> Iterator[None]:
    import_host("mmseg")
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    """A folder with the domains ``red`` and ``blue``."""
    return write_domains(tmp_path / "data")


@pytest.fixture
def config(domains: Path, tmp_path: Path) -> Config:
    """A config that adapts from ``red`` to ``blue`` for four iterations."""
    return tiny_config(domains, tmp_path / "work")
