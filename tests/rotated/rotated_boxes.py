"""Random pairs of boxes, and what the loss tests do with them."""

import torch
from torch import Tensor, nn

TURN = 2 * torch.pi


def ordinary_pairs(count: int = 200, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Return predictions that require gradients, and targets, as a detector sees them.

    Sides are 8 to 200 px, predictions are off by a part of the target's size.
    """
    target = torch.rand(count, 5, dtype=torch.float64)
    target[:, :2] *= 800
    target[:, 2:4] = 8 * 25 ** target[:, 2:4]
    target[:, 4] = (target[:, 4] - 0.5) * torch.pi
    pred = target.clone()
    pred[:, :2] += target[:, 2:4] * torch.randn(count, 2, dtype=torch.float64) / 3
    pred[:, 2:4] *= torch.exp(torch.randn(count, 2, dtype=torch.float64) / 3)
    pred[:, 4] += torch.randn(count, dtype=torch.float64) / 3
    return pred.to(dtype).requires_grad_(), target.to(dtype)


def horizontal(boxes: Tensor) -> Tensor:
    """Return (N, 4) boxes x1, y1, x2, y2 with the centres and sides of (N, 5) ones."""
    half = boxes[:, 2:4] / 2
    return torch.cat((boxes[:, :2] - half, boxes[:, :2] + half), 1)


def value_and_grad(
    loss: nn.Module, pred: Tensor, target: Tensor, *args: object, **kwargs: object
) -> tuple[Tensor, Tensor]:
    """Return the loss and the gradient of its sum with respect to ``pred``."""
    value = loss(pred, target, *args, **kwargs)
    return value.detach(), torch.autograd.grad(value.sum(), pred)[0]
