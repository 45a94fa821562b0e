"""Uformers with the parameters that the official code was run with: each drawn from its name."""

import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mmext.checkpoints.uformer import convert_uformer
from mmext.restoration.uformer import Uformer

DATA = Path(__file__).parent / "data" / "uformer"
# Names and shapes, statistics of the stages, drop path and shift, by network.
OFFICIAL = json.loads(gzip.decompress((DATA / "official.json.gz").read_bytes()))
NETWORKS = sorted(OFFICIAL)
RULES = ("small", "strong")


def golden_parameter(name: str, shape: list[int], rule: str) -> Tensor:
    """Return the tensor that an official name stands for."""
    value = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if rule == "small":
        value *= 0.02
    elif "bias_table" in name or "modulator" in name:
        value *= 0.5
    elif len(shape) >= 2:
        value /= np.sqrt(np.prod(shape[1:]))
    else:
        value *= 0.1
    is_norm = "norm" in name and name.endswith(".weight")
    return torch.from_numpy(value + is_norm).float()


def official_tensors(network: str, rule: str = "strong") -> dict[str, Tensor]:
    """Return the parameters of a network in official names."""
    shapes = OFFICIAL[network]["params"]
    return {name: golden_parameter(name, shape, rule) for name, shape in shapes}


def golden_uformer(network: str, rule: str = "strong") -> Uformer:
    """Build a network of the official code with its parameters, converted."""
    conversion = convert_uformer(official_tensors(network, rule))
    assert (conversion.unknown, conversion.absent) == ([], [])
    options = dict(conversion.meta["model"])
    del options["type"]
    # What tensors do not tell.
    options["shift"] = OFFICIAL[network]["kwargs"].get("shift_flag", True)
    model = Uformer(**options)
    tensors = {name.removeprefix("generator."): t for name, t in conversion.state_dict.items()}
    model.load_state_dict(tensors, strict=True)
    return model.eval()


def golden_image(network: str = "uformer_t") -> Tensor:
    """Return the image that the official code was run on."""
    channels = OFFICIAL[network]["kwargs"].get("dd_in", 3)
    image = np.random.default_rng(0).random((1, channels, 128, 128)).astype(np.float32)
    return torch.from_numpy(image)


def golden_outputs(network: str) -> dict[str, Tensor]:
    """Return every 11th row and column of the official outputs, so that all places of a window are
    among them.
    """
    with np.load(DATA / "outputs.npz") as arrays:
        return {
            name.partition("/")[2]: torch.from_numpy(arrays[name])
            for name in arrays.files
            if name.startswith(f"{network}/")
        }


def sample(image: Tensor) -> Tensor:
    """Take the pixels of :func:`golden_outputs`."""
    return image[..., ::11, ::11]
