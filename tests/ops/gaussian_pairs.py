"""Random pairs of boxes, and what the tests of gaussian_distance do with them."""

import pytest
import torch

from mmext.ops import _extension, gaussian_distance
from mmext.ops.gaussian_distance import KINDS

DISTANCES = tuple(kind for kind in KINDS if kind != "kfiou")
needs_extension = pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
both_ways = pytest.mark.parametrize(
    "use_kernel", [pytest.param(True, marks=needs_extension), False]
)
each_kind = pytest.mark.parametrize("kind", KINDS)
each_format = pytest.mark.parametrize("columns", [4, 5])
LOSSES = [
    dict(),
    dict(fun="log1p", tau=1.0),
    dict(sqrt=True, fun="log1p", tau=2.0, scale=0.5),
    dict(fun="hellinger"),
    dict(kind="gwd", normalize=True, sqrt=True, alpha=2.0),
    dict(kind="kld", alpha=0.5, fun="sqrt"),
]


def boxes(count, columns=5, dtype=torch.float64, seed=0):
    """Predictions near their targets, both of which require gradients."""
    make = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.rand(*size, generator=make, dtype=torch.float64)  # noqa: E731
    centres, sides = 100 * draw(count, 2), 5 + 40 * draw(count, 2)
    target = torch.cat([centres, sides, 6 * draw(count, 1) - 3], 1)
    pred = target + torch.tensor([4, 4, 3, 3, 0.5]) * (draw(count, 5) - 0.5)
    if columns == 4:
        pred, target = (
            torch.cat([box[:, :2] - box[:, 2:4] / 2, box[:, :2] + box[:, 2:4] / 2], 1)
            for box in (pred, target)
        )
    return pred.to(dtype).requires_grad_(), target.to(dtype).requires_grad_()


def weights(count, dtype=torch.float64, seed=1):
    """Factors of which about a third are 0."""
    make = torch.Generator().manual_seed(seed)
    weight = torch.rand(count, generator=make, dtype=torch.float64)
    return weight.where(weight > 0.3, 0).to(dtype)


def with_gradients(pred, target, kind="kld", **options):
    """The result, and the gradients of both boxes for a random gradient of the result."""
    out = gaussian_distance(pred, target, kind, **options)
    grad = torch.linspace(-1, 2, len(out), dtype=out.dtype)
    return out.detach(), *torch.autograd.grad(out, (pred, target), grad)
