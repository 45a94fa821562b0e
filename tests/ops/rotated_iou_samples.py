"""Random pairs for the tests of rotated_iou, and both ways to compute it."""

import pytest
import torch

from mmext.ops import _extension

needs_extension = pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
both_ways = pytest.mark.parametrize(
    "use_kernel", [pytest.param(True, marks=needs_extension), False], ids=["kernel", "reference"]
)


@pytest.fixture(autouse=True)
def _chosen_way(request, monkeypatch):
    """Run without the extension what asks for it by ``use_kernel``."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and "use_kernel" in callspec.params:
        monkeypatch.setattr(_extension, "LOADED", callspec.params["use_kernel"])


def pairs(count, dtype=torch.float64, seed=0, aspect=3.0, apart=5.0):
    """Random pairs of (count, 5) rboxes, most of which overlap; ``aspect`` is e^3 at most."""
    make = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.rand(size, generator=make, dtype=torch.float64)

    def boxes(centre):
        side, log_ratio = 2 + 20 * draw(count, 1), aspect * (draw(count, 1) - 0.5)
        sides = torch.cat([side * log_ratio.exp(), side * (-log_ratio).exp()], 1)
        return torch.cat([centre, sides, 8 * (draw(count, 1) - 0.5)], 1)

    centre = 500 * draw(count, 2)
    shift = apart * torch.randn(count, 2, generator=make, dtype=torch.float64)
    return boxes(centre).to(dtype), boxes(centre + shift).to(dtype)


def weighted_gradients(function, pred, target, seed=1):
    """(N, 10) gradients of pred and target for random upstream gradients."""
    make = torch.Generator().manual_seed(seed)
    pred, target = pred.clone().requires_grad_(), target.clone().requires_grad_()
    out = function(pred, target)
    grad = torch.randn(out.shape, generator=make, dtype=torch.float64)
    return torch.cat(torch.autograd.grad(out, (pred, target), grad.to(out)), 1), grad
