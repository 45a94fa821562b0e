"""What the ops on 3-D boxes share: checks of arguments and plain geometry."""

import torch
from torch import Tensor

_FIELDS = "x, y, z, l, w, h, yaw"


def check_boxes(op: str, name: str, boxes: Tensor) -> None:
    """Raise a ValueError that names the argument, unless it is (N, 7) of floating point."""
    if boxes.dim() != 2 or boxes.shape[1] != 7:
        raise ValueError(f"{op}: {name} must be (N, 7) boxes {_FIELDS}, got {tuple(boxes.shape)}.")
    if not boxes.is_floating_point():
        raise ValueError(f"{op}: {name} must be floating point, got {boxes.dtype}.")


def hulls(boxes: Tensor) -> Tensor:
    """Return the axis-aligned boxes around (N, 7) boxes, with a yaw of 0."""
    x, y, z, length, width, height, yaw = boxes.unbind(-1)
    cosine, sine = yaw.cos().abs(), yaw.sin().abs()
    length, width = length.clamp(min=0), width.clamp(min=0)
    along_x = length * cosine + width * sine
    along_y = length * sine + width * cosine
    return torch.stack([x, y, z, along_x, along_y, height, torch.zeros_like(yaw)], -1)
