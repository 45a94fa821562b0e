"""Importing the scripts of ``tools/``, which are no package."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="session")
def load_tool():
    """A function that imports ``tools/<path>`` as a module."""

    def load(path):
        spec = importlib.util.spec_from_file_location(Path(path).stem, TOOLS / path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up
        sys.path.insert(0, str((TOOLS / path).parent))  # as for a script that is run
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.pop(0)
        return module

    return load
