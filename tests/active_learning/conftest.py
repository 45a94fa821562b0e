"""Data of small campaigns, and the scripts of ``tools/`` that belong to them."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from tiny_detection import write_coco


@pytest.fixture(scope="session")
def pool_data(tmp_path_factory) -> Path:
    """Folder of twelve images with two objects each."""
    root = tmp_path_factory.mktemp("pool")
    write_coco(root, images=12)
    return root


@pytest.fixture(scope="session")
def load_al_tool() -> Callable[[str], ModuleType]:
    """A function that imports a script of ``tools/``."""

    def load(name: str) -> ModuleType:
        path = Path(__file__).resolve().parents[2] / "tools" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
