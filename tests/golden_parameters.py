"""The parameters with which the official networks were run: each drawn from its name."""

import gzip
import json
import re
import zlib
from pathlib import Path

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


def official_triplet_shapes(num_stacks: int) -> dict[str, list[int]]:
    """Return names and shapes of the official CenterNet-52 (one stack) or CenterNet-104."""
    names = Path(__file__).parent / "data" / "centernet_triplet_official.json.gz"
    shapes = json.loads(gzip.decompress(names.read_bytes()))
    if num_stacks == 1:  # what both have: all but the second stack and the layers between the two
        second = re.compile(r"(?!pre)\w+\.1\.|(inters_?|cnvs_)\.")
        shapes = {name: shape for name, shape in shapes.items() if not second.match(name)}
    return shapes


def official_triplet_tensors(num_stacks: int) -> dict[str, Tensor]:
    """Return the tensors with which the official networks were run."""
    shapes = official_triplet_shapes(num_stacks)
    return {name: golden_parameter(name, shape) for name, shape in shapes.items()}


def official_cpn_shapes(name: str) -> dict[str, list[int]]:
    """Return names and shapes of the official CPN with ``dla34``, ``hg52`` or ``hg104``."""
    names = Path(__file__).parent / "data" / "cpn_official.json.gz"
    shapes = json.loads(gzip.decompress(names.read_bytes()))
    if name == "hg52":  # the first stack of the other
        second = re.compile(r"(?!pre|bbox_head)\w+\.1\.|(inters_?|cnvs_)\.")
        return {n: shape for n, shape in shapes["hg104"].items() if not second.match(n)}
    return shapes[name]


def official_adaptation_shapes(network: str) -> dict[str, list[int]]:
    """Return names and shapes of a network of the papers on adapting segmentation.

    ``deeplabv2``, ``fcn8s``, ``discriminator``, ``generator`` or ``patch_discriminator``.
    """
    names = Path(__file__).parent / "data" / "seg_adaptation" / "official.json.gz"
    return json.loads(gzip.decompress(names.read_bytes()))[network]


def official_adaptation_tensors(network: str) -> dict[str, Tensor]:
    """Return the tensors with which such a network was run; FCN-8s interpolates linearly."""
    tensors = {}
    for name, shape in official_adaptation_shapes(network).items():
        if name.startswith("upscore"):
            channels, size = shape[0], shape[-1]
            line = 1 - np.abs(np.arange(size) - (size - 1) / 2) / (size // 2)
            kernel = torch.from_numpy(np.outer(line, line)).float()
            tensors[name] = torch.eye(channels)[..., None, None] * kernel
        else:
            tensors[name] = golden_parameter(name, shape)
    return tensors
