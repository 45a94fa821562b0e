"""Oriented 3-D boxes in one convention, and the ways to and from the others.

A box is gravity centre x, y, z, full sizes l (along x), w (along y), h (along z) in metres, and yaw
in radians, counter-clockwise seen from above (from +x towards +y), with z up.
"""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

# Of (l/2, w/2, h/2), the lower four first. Source: the official code of VoteNet.
_CORNER_SIGNS = (
    (1, 1, -1),
    (1, -1, -1),
    (-1, -1, -1),
    (-1, 1, -1),
    (1, 1, 1),
    (1, -1, 1),
    (-1, -1, 1),
    (-1, 1, 1),
)


def wrap_angle(angle: Tensor) -> Tensor:
    """Return angles in radians, moved by whole turns into (-pi, pi]."""
    return math.pi - torch.remainder(math.pi - angle, 2 * math.pi)


def rotate_points(points: Tensor, angle: Tensor | float) -> Tensor:
    """Rotate points about the z axis.

    Args:
        points: (..., 3) in metres.
        angle: Radians, counter-clockwise seen from above; a number or of a shape that broadcasts
            against (...).

    Returns:
        (..., 3).
    """
    angle = torch.as_tensor(angle, dtype=points.dtype, device=points.device)
    cos, sin = angle.cos(), angle.sin()
    x, y, z = points.unbind(-1)
    return torch.stack(torch.broadcast_tensors(cos * x - sin * y, sin * x + cos * y, z), dim=-1)


def to_upright_camera(points: Tensor) -> Tensor:
    """Return points of the upright depth frame (z up) in VoteNet's upright camera frame (y down).

    Args:
        points: (..., 3) x, y, z.

    Returns:
        (..., 3) x, -z, y.
    """
    x, y, z = points.unbind(-1)
    return torch.stack((x, -z, y), dim=-1)


def from_upright_camera(points: Tensor) -> Tensor:
    """Undo :func:`to_upright_camera`.

    Args:
        points: (..., 3) x right, y down, z forward.

    Returns:
        (..., 3) x right, y forward, z up.
    """
    x, y, z = points.unbind(-1)
    return torch.stack((x, z, -y), dim=-1)


class Boxes3D:
    """Oriented boxes: gravity centre, full sizes, yaw counter-clockwise about +z.

    Nothing changes a box in place: all methods return new boxes.

    Args:
        tensor: (N, 7) x, y, z, l, w, h in metres and yaw in radians; a tensor, array or nested
            list, which may be empty.

    Raises:
        ValueError: It has another shape.
    """

    def __init__(self, tensor: Tensor | np.ndarray | Sequence) -> None:
        tensor = torch.as_tensor(tensor)
        if not tensor.is_floating_point():
            tensor = tensor.float()
        if tensor.numel() == 0 and tensor.shape != (0, 7):
            tensor = tensor.new_zeros(0, 7)
        if tensor.dim() != 2 or tensor.shape[1] != 7:
            raise ValueError(
                f"boxes of shape {tuple(tensor.shape)}: expected (N, 7), x, y, z, l, w, h, yaw. "
                "Boxes without a yaw come in by Boxes3D.from_aligned."
            )
        self.tensor = tensor

    @classmethod
    def from_aligned(cls, boxes: Tensor | np.ndarray | Sequence) -> Self:
        """Make boxes of (N, 6) centres and full sizes along the axes."""
        boxes = torch.as_tensor(boxes).reshape(-1, 6)
        return cls(torch.cat((boxes, boxes.new_zeros(len(boxes), 1)), dim=1))

    @classmethod
    def from_bottom_centre(cls, boxes: Tensor | np.ndarray | Sequence) -> Self:
        """Make boxes of (N, 7) ones whose z is that of the bottom, as mmdet3d keeps them."""
        return cls(boxes).translate((0, 0, 0.5), of_size=True)

    @classmethod
    def from_votenet(cls, boxes: Tensor | np.ndarray | Sequence) -> Self:
        """Make boxes of VoteNet's: gravity centre, half sizes, heading from +x towards -y.

        Args:
            boxes: (N, 7), or (N, 8) as VoteNet's files have them, with the class last.
        """
        boxes = torch.as_tensor(boxes)
        centre, half, heading = boxes[:, :3], boxes[:, 3:6], boxes[:, 6:7]
        return cls(torch.cat((centre, 2 * half, -heading), dim=1))

    def to_bottom_centre(self) -> Tensor:
        """Return (N, 7) boxes with the z of the bottom: undoes :meth:`from_bottom_centre`."""
        return self.translate((0, 0, -0.5), of_size=True).tensor

    def to_votenet(self) -> Tensor:
        """Return (N, 7) centre, half sizes, heading: undoes :meth:`from_votenet`."""
        return torch.cat((self.centres, self.sizes / 2, -self.yaws[:, None]), dim=1)

    @property
    def centres(self) -> Tensor:
        """(N, 3) gravity centres in metres."""
        return self.tensor[:, :3]

    @property
    def sizes(self) -> Tensor:
        """(N, 3) full sizes l, w, h in metres."""
        return self.tensor[:, 3:6]

    @property
    def yaws(self) -> Tensor:
        """(N,) yaws in radians."""
        return self.tensor[:, 6]

    @property
    def volumes(self) -> Tensor:
        """(N,) volumes in cubic metres."""
        return self.sizes.prod(dim=1)

    @property
    def corners(self) -> Tensor:
        """(N, 8, 3) corners, the lower four first.

        Each four are those of (+l, +w), (+l, -w), (-l, -w), (-l, +w) before the rotation.
        """
        signs = self.tensor.new_tensor(_CORNER_SIGNS)
        local = signs * self.sizes[:, None] / 2
        return rotate_points(local, self.yaws[:, None]) + self.centres[:, None]

    @property
    def hulls(self) -> Self:
        """The smallest axis-aligned boxes around each; their yaw is 0."""
        cos, sin = self.yaws.cos().abs(), self.yaws.sin().abs()
        length, width, height = self.sizes.unbind(1)
        sizes = (length * cos + width * sin, length * sin + width * cos, height)
        return type(self)(
            torch.cat(
                (self.centres, torch.stack((*sizes, torch.zeros_like(cos)), dim=1)),
                dim=1,
            )
        )

    def translate(self, offset: Tensor | Sequence[float], *, of_size: bool = False) -> Self:
        """Move boxes.

        Args:
            offset: (3,) or (N, 3) in metres, or in shares of l, w, h.
            of_size: Whether they are shares.
        """
        offset = torch.as_tensor(offset, dtype=self.tensor.dtype, device=self.tensor.device)
        offset = offset * self.sizes if of_size else offset.expand_as(self.centres)
        return type(self)(torch.cat((self.centres + offset, self.tensor[:, 3:]), dim=1))

    def rotate(self, angle: float) -> Self:
        """Rotate boxes about the origin's z axis by ``angle`` radians, counter-clockwise."""
        yaws = self.yaws[:, None] + angle
        return type(self)(torch.cat((rotate_points(self.centres, angle), self.sizes, yaws), dim=1))

    def flip(self, axis: str) -> Self:
        """Mirror boxes.

        Args:
            axis: The coordinate whose sign changes: ``'x'`` (yaw becomes pi - yaw) or ``'y'`` (yaw
                becomes -yaw).
        """
        if axis not in ("x", "y"):
            raise ValueError(f"flip along {axis!r}: expected 'x' or 'y'")
        signs = self.tensor.new_tensor([-1, 1, 1] if axis == "x" else [1, -1, 1])
        yaws = math.pi - self.yaws if axis == "x" else -self.yaws
        return type(self)(
            torch.cat((self.centres * signs, self.sizes, wrap_angle(yaws)[:, None]), dim=1)
        )

    def scale(self, factor: float) -> Self:
        """Scale boxes about the origin."""
        return type(self)(
            torch.cat((self.centres * factor, self.sizes * factor, self.tensor[:, 6:]), dim=1)
        )

    def to(self, *args: object, **kwargs: object) -> Self:
        """Move or cast the boxes, as :meth:`torch.Tensor.to`."""
        return type(self)(self.tensor.to(*args, **kwargs))

    def clone(self) -> Self:
        """Copy the boxes."""
        return type(self)(self.tensor.clone())

    @classmethod
    def cat(cls, boxes: Sequence[Self]) -> Self:
        """Concatenate boxes; of none, return none."""
        return cls(torch.cat([part.tensor for part in boxes]) if boxes else torch.zeros(0, 7))

    def __len__(self) -> int:
        return len(self.tensor)

    def __getitem__(self, item: int | slice | Tensor | np.ndarray | Sequence) -> Self:
        chosen = self.tensor[item]
        return type(self)(chosen[None] if chosen.dim() == 1 else chosen)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.tensor})"
