"""Small images and the numbers of the official code."""

import json
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="session")
def official() -> dict:
    """Figures of the official code: loss, metrics, learning rates (keys: epochs, then epoch)."""
    return json.loads((DATA / "restoration_official.json").read_text())


@pytest.fixture(scope="session")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Prediction and target of the official figures, (96, 128, 3) RGB in [0, 1]."""
    with np.load(DATA / "restoration_pair.npz") as arrays:
        return arrays["pred"] / 255, arrays["gt"] / 255


@pytest.fixture
def folders(tmp_path) -> Path:
    """Eight pairs below ``noisy`` and ``clean``."""
    from tiny_restoration import write_pairs

    return write_pairs(tmp_path / "data")
