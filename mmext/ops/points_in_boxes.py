"""Which points lie in which 3-D boxes."""

import torch
from torch import Tensor

from . import _extension
from ._boxes3d import check_boxes
from ._points import CHUNK, check_device


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Say for each point and box whether the point lies in the box or on its surface.

    All faces belong to the box. (mmcv counts points on the top and bottom, but not those on the
    sides, and wants boxes by the centre of their bottom.) Nothing lies in a box with a negative
    size or with NaN, and a point with NaN in no box. Computed in float32, in float64 if one of both
    is.

    Args:
        points: (N, 3) coordinates in metres.
        boxes: (G, 7) boxes: gravity centre x, y, z and full sizes l, w, h in metres, yaw in
            radians, counter-clockwise about +z.

    Returns:
        (N, G) bool.

    Raises:
        ValueError: Shapes, dtypes or devices do not fit.
    """
    if points.dim() != 2 or points.shape[1] != 3:
        raise ValueError(
            f"points_in_boxes: points must be (N, 3) x, y, z, got {tuple(points.shape)}."
        )
    if not points.is_floating_point():
        raise ValueError(f"points_in_boxes: points must be floating point, got {points.dtype}.")
    check_boxes("points_in_boxes", "boxes", boxes)
    check_device("points_in_boxes", ("boxes", boxes), ("points", points))
    dtype = torch.promote_types(torch.promote_types(points.dtype, boxes.dtype), torch.float32)
    op = torch.ops.mmext.points_in_boxes if _extension.LOADED else points_in_boxes_reference
    return op(points.detach().to(dtype), boxes.detach().to(dtype))


def points_in_boxes_reference(points: Tensor, boxes: Tensor) -> Tensor:
    """Compute :func:`points_in_boxes` with plain torch functions, on any device.

    Test oracle and fallback. Takes the arguments of :func:`points_in_boxes`, of one dtype.
    """
    half, yaw = 0.5 * boxes[:, 3:6], boxes[:, 6]
    cosine, sine = yaw.cos(), yaw.sin()
    parts = []
    for part in points.split(max(1, CHUNK // max(1, len(boxes)))):
        x, y, z = (part[:, None] - boxes[:, :3]).unbind(-1)
        along_l = (cosine * x + sine * y).abs()
        along_w = (cosine * y - sine * x).abs()
        parts.append((along_l <= half[:, 0]) & (along_w <= half[:, 1]) & (z.abs() <= half[:, 2]))
    return torch.cat(parts)


def _fake(points: Tensor, boxes: Tensor) -> Tensor:
    """Tell torch.compile and torch.export the shape of the result."""
    return points.new_empty((points.shape[0], boxes.shape[0]), dtype=torch.bool)


if _extension.LOADED:
    torch.library.register_fake("mmext::points_in_boxes", _fake)
