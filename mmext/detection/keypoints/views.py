"""Where the cells of a network's maps lie in the image."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

# A box may reach this far over the edge of the scaled image, in its pixels.
_OVERHANG = 5


class View(NamedTuple):
    """How one image was scaled, padded and flipped on its way to the maps.

    Attributes:
        cell (Tensor): (2,) width and height of a cell, in pixels of the padded image.
        flip_width (float | None): Width of the padded image if it was flipped.
        border (Tensor): (2,) left and top edge of the image in the padded one.
        size (Tensor): (2,) width and height of the image without padding.
        scale (Tensor): (2,) factors that took the original image to that size, 1 to stay there.
    """

    cell: Tensor
    flip_width: float | None
    border: Tensor
    size: Tensor
    scale: Tensor

    @classmethod
    def of(
        cls, meta: Mapping[str, Any], map_shape: Sequence[int], like: Tensor, *, rescale: bool
    ) -> "View":
        """Read the meta information of an image.

        Args:
            meta (dict): ``batch_input_shape`` (of the network's input), ``img_shape`` (of this
                image with its border), if there are any ``border`` (top, bottom, left and right
                edge of the image in it) and ``flip``, and for ``rescale`` ``scale_factor`` (w, h).
            map_shape (Sequence[int]): Height and width of the maps.
            like (Tensor): Gives type and device.
            rescale (bool): Whether to go back to the original image.

        Returns:
            View: The view.

        Raises:
            ValueError: The image was flipped in another way than horizontally.
        """
        height, width = meta["img_shape"][:2]
        flipped = meta.get("flip", False)
        if flipped and meta.get("flip_direction", "horizontal") != "horizontal":
            raise ValueError(
                f"Corner detectors undo horizontal flips only, got {meta['flip_direction']!r}: "
                "leave other directions out of RandomFlip in the test pipeline."
            )
        top, bottom, left, right = (float(v) for v in meta.get("border", (0, height, 0, width)))
        input_height, input_width = meta["batch_input_shape"]
        new = like.new_tensor
        return cls(
            new([input_width / map_shape[1], input_height / map_shape[0]]),
            width if flipped else None,
            new([left, top]),
            new([right - left, bottom - top]),
            new([*meta["scale_factor"]][:2] if rescale else [1.0, 1.0]),
        )

    def boxes(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Take boxes from cells to pixels.

        The steps are the official ones: cells to pixels of the padded input, back over a flip, less
        the border of the padding, clipped, and at last the scale is undone.

        Args:
            cells (Tensor): (N, 4) x1, y1, x2, y2 in cells.

        Returns:
            tuple[Tensor, Tensor]: (N, 4) boxes in pixels, and (N,) whether they reached more than
            5 px of the scaled image over its edge before they were clipped.
        """
        boxes = cells * self.cell.repeat(2)
        if self.flip_width is not None:
            x1, y1, x2, y2 = boxes.unbind(-1)
            boxes = torch.stack((self.flip_width - x2, y1, self.flip_width - x1, y2), -1)
        boxes = boxes - self.border.repeat(2)
        outside = (boxes[:, :2] < -_OVERHANG) | (boxes[:, 2:] > self.size + _OVERHANG)
        boxes = boxes.clamp(min=0).minimum(self.size.repeat(2)) / self.scale.repeat(2)
        return boxes, outside.any(-1)

    def points(self, cells: Tensor) -> Tensor:
        """Take points from cells to pixels, as :meth:`boxes` does.

        Args:
            cells (Tensor): (N, 2) x, y in cells.

        Returns:
            Tensor: (N, 2) in pixels.
        """
        points = cells * self.cell
        if self.flip_width is not None:
            points = torch.stack((self.flip_width - points[:, 0], points[:, 1]), -1)
        return (points - self.border).clamp(min=0).minimum(self.size) / self.scale
