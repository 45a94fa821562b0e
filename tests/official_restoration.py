"""Fixtures: the figures of the official restoration code, and the images they were computed on."""

import json
from pathlib import Path

import numpy as np
import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def official() -> dict:
    """Figures of the official code: loss, metrics, learning rates (keys: epochs, then epoch)."""
    return json.loads((DATA / "restoration_official.json").read_text())


@pytest.fixture(scope="session")
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Prediction and target of the official figures, (96, 128, 3) RGB in [0, 1]."""
    with np.load(DATA / "restoration_pair.npz") as arrays:
        return arrays["pred"] / 255, arrays["gt"] / 255
