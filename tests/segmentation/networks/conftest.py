"""The official DeepLab-v2 with the weights of the golden data, once for all tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_parameters import official_adaptation_tensors
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from mmext.checkpoints.deeplabv2 import convert_deeplabv2
from mmext.registry import MODELS

ROOT = Path(__file__).parents[3]


@pytest.fixture
def build_base() -> Callable[..., nn.Module]:
    """Build the model of a base config, with other options of its decode head."""

    def build(name: str, **head: object) -> nn.Module:
        cfg = Config.fromfile(ROOT / "configs" / "_base_" / "models" / f"{name}.py")
        init_default_scope("mmseg")
        if head:
            cfg.model.decode_head.update(head)
        return MODELS.build(cfg.model)

    return build


@pytest.fixture(scope="session")
def deeplabv2_weights():
    return convert_deeplabv2(official_adaptation_tensors("deeplabv2")).state_dict


@pytest.fixture(scope="session")
def golden():
    """Numbers of the official code."""
    with np.load(ROOT / "tests" / "data" / "seg_adaptation" / "networks.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


@pytest.fixture(scope="session")
def golden_inputs():
    """Source image, target image, label, and an image of 64x96 pixels."""
    rng = np.random.default_rng(0)
    source, target = (rng.standard_normal((1, 3, 65, 65)) for _ in range(2))
    label = rng.integers(0, 20, (1, 65, 65))
    label[label == 19] = 255
    wide = np.random.default_rng(1).standard_normal((1, 3, 64, 96))
    images = [torch.from_numpy(image).float() for image in (source, target, wide)]
    return images[0], images[1], torch.from_numpy(label), images[2]
