"""The parameters with which the official networks were run: each drawn from its name."""

import zlib

import numpy as np
import torch
from torch import Tensor


def golden_parameter(name: str, shape: torch.Size | list[int]) -> Tensor:
    """Return the tensor that the official name stands for."""
    leaf = name.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return torch.tensor(0)
    if leaf in ("running_mean", "running_var"):
        return torch.full(tuple(shape), float(leaf == "running_var"))
    value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape) * 0.02
    return torch.from_numpy(value + (leaf == "weight" and len(shape) == 1)).float()
