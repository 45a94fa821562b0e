"""Numbers of the official code of CenterNet and CPN (parameters come from their names)."""

from pathlib import Path

import numpy as np
import pytest
import torch

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    with np.load(DATA / "keypoints.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}
