"""Heat maps, offsets and cells that key points should be predicted as."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from mmdet.utils import InstanceList
from torch import Tensor

from .instances import usable_instances

RadiusForm = Literal["legacy", "correct"]

# Objects that are painted in one go: bounds the memory to about 200 MB for maps of 128 x 128.
_OBJECTS_AT_ONCE = 256


def gaussian_radius(
    sizes: Tensor, *, min_overlap: float = 0.7, form: RadiusForm = "legacy"
) -> Tensor:
    """Radius within which a moved corner still gives a box of ``min_overlap`` IoU.

    Each of three ways to move the corners (CornerNet, arXiv 1808.01244, section 3.2) gives a
    quadratic equation, and the smallest of their roots is the radius. The first code of CornerNet
    took wrong roots: it adds the root of the discriminant where it has to be subtracted, and
    divides by 2 instead of twice the leading coefficient. Most of its radii are 3.3 to 3.9 times
    the correct ones. The published results of CornerNet, CenterNet and CPN were trained with it.

    Args:
        sizes (Tensor): (..., 2) widths and heights (in any order), above zero.
        min_overlap (float): The IoU.
        form (str): ``legacy`` for that first code, ``correct`` for the roots as they should be
            (``mmdet.models.utils.gaussian_radius``).

    Returns:
        Tensor: (...,) radii in the unit of ``sizes``.
    """
    total, area = sizes.sum(-1), sizes.prod(-1)
    # a r^2 + b r + c = 0: one corner inside and one outside, both inside, both outside.
    a = sizes.new_tensor([1, 4, 4 * min_overlap])
    b = total[..., None] * sizes.new_tensor([1, 2, -2 * min_overlap])
    c = area[..., None] * sizes.new_tensor(
        [(1 - min_overlap) / (1 + min_overlap), 1 - min_overlap, min_overlap - 1]
    )
    root = (b.square() - 4 * a * c).sqrt()
    if form == "legacy":
        return ((b + root) / 2).amin(-1)
    if form != "correct":
        raise ValueError(f"form must be 'legacy' or 'correct', got {form!r}.")
    return ((b + root * root.new_tensor([-1, -1, 1])) / (2 * a)).amin(-1)


def gaussian_heat(
    cells: Tensor,
    radii: Tensor,
    channels: Tensor,
    shape: tuple[int, int, int],
    *,
    sigma_divisor: float = 6.0,
) -> Tensor:
    """Paint a Gaussian bump around each key point; where bumps overlap the higher one counts.

    A bump is ``exp(-d^2 / (2 sigma^2))`` within a square of 2r + 1 cells, with ``sigma = (2r + 1) /
    sigma_divisor``.

    Args:
        cells (Tensor): (N, 2) integer x, y, inside the map.
        radii (Tensor): (N,) integer radii in cells, at least 0.
        channels (Tensor): (N,) channel of each point, the class and possibly the image.
        shape (tuple[int, int, int]): Channels, height and width of the result.
        sigma_divisor (float): 6 for corners; the official code of CenterNet has 5 for centres.

    Returns:
        Tensor: ``shape`` float32 heat, 1 at the points.
    """
    heat = torch.zeros(shape, device=cells.device)
    for part in range(0, len(cells), _OBJECTS_AT_ONCE):
        chosen = slice(part, part + _OBJECTS_AT_ONCE)
        _paint(heat, cells[chosen], radii[chosen], channels[chosen], sigma_divisor)
    return heat


def _paint(
    heat: Tensor, cells: Tensor, radii: Tensor, channels: Tensor, sigma_divisor: float
) -> None:
    """Paint into ``heat``: list the cells of all squares one after the other, then scatter."""
    limits = cells.new_tensor(heat.shape[:0:-1]) - 1  # last column, last row
    first = (cells - radii[:, None]).clamp(min=0)
    size = (cells + radii[:, None]).minimum(limits) - first + 1
    count = size.prod(-1)
    owner = torch.repeat_interleave(count)
    within = torch.arange(len(owner), device=cells.device) - (count.cumsum(0) - count)[owner]
    columns = size[owner, 0]
    x = first[owner, 0] + within % columns
    y = first[owner, 1] + within.div(columns, rounding_mode="floor")

    sigma = (2 * radii + 1) / sigma_divisor
    squared = (x - cells[owner, 0]).square() + (y - cells[owner, 1]).square()
    value = torch.exp(-squared / (2 * sigma.square())[owner])
    index = (channels[owner] * heat.size(1) + y) * heat.size(2) + x
    heat.view(-1).scatter_reduce_(0, index, value.to(heat), "amax")


class KeypointTargets(NamedTuple):
    """Targets of one kind of key point, for N points of the whole batch.

    Attributes:
        heat (Tensor): (B, C, H, W) heat, 1 at the points.
        images (Tensor): (N,) image of each point.
        cells (Tensor): (N, 2) x, y of the cells.
        offsets (Tensor): (N, 2) x, y from the cell to the point, in cells.
    """

    heat: Tensor
    images: Tensor
    cells: Tensor
    offsets: Tensor

    def gather(self, maps: Tensor) -> Tensor:
        """Read maps at the points.

        Args:
            maps (Tensor): (B, D, H, W).

        Returns:
            Tensor: (N, D).
        """
        return maps[self.images, :, self.cells[:, 1], self.cells[:, 0]]


def keypoint_targets(
    points: Tensor,
    radii: Tensor,
    labels: Tensor,
    images: Tensor,
    shape: tuple[int, int, int, int],
    *,
    sigma_divisor: float = 6.0,
) -> KeypointTargets:
    """Targets of one kind of key point.

    Args:
        points (Tensor): (N, 2) x, y in cells. A point on or beyond the last column or row belongs
            to that, and one before the first to the first; its offset says how far it is.
        radii (Tensor): (N,) radii in cells as :func:`gaussian_radius` gives them, rounded down.
        labels (Tensor): (N,) classes.
        images (Tensor): (N,) image in the batch.
        shape (tuple[int, int, int, int]): Batch, classes, height and width of the maps.
        sigma_divisor (float): See :func:`gaussian_heat`.

    Returns:
        KeypointTargets: Heat, cells and offsets.
    """
    batch, classes, height, width = shape
    limits = torch.tensor([width, height], device=points.device) - 1
    cells = points.floor().long().clamp(min=0).minimum(limits)
    heat = gaussian_heat(
        cells,
        radii.floor().long(),
        images * classes + labels,
        (batch * classes, height, width),
        sigma_divisor=sigma_divisor,
    )
    return KeypointTargets(heat.view(shape), images, cells, points - cells)


class CellObjects(NamedTuple):
    """The N objects of a batch, in cells of its maps.

    Attributes:
        boxes (Tensor): (N, 4) float64 x1, y1, x2, y2.
        labels (Tensor): (N,) classes.
        images (Tensor): (N,) image of each object.
        radii (Tensor): (N,) radii of the bumps, see :func:`gaussian_radius`.
        shape (tuple[int, int, int, int]): Batch, classes, height and width of the maps.
    """

    boxes: Tensor
    labels: Tensor
    images: Tensor
    radii: Tensor
    shape: tuple[int, int, int, int]

    def keypoints(self, points: Tensor, *, sigma_divisor: float = 6.0) -> KeypointTargets:
        """Targets of one kind of key point.

        Args:
            points (Tensor): (N, 2) the point of each object, in cells.
            sigma_divisor (float): See :func:`gaussian_heat`.

        Returns:
            KeypointTargets: See :func:`keypoint_targets`.
        """
        return keypoint_targets(
            points, self.radii, self.labels, self.images, self.shape, sigma_divisor=sigma_divisor
        )


def objects_in_cells(
    batch_gt_instances: InstanceList,
    batch_img_metas: Sequence[dict],
    map_shape: Sequence[int],
    *,
    num_classes: int,
    radius_form: RadiusForm,
    min_radius: int = 0,
) -> CellObjects:
    """Bring the objects of a batch to the cells of its maps.

    Boxes are clipped to the image; those without extent then are left out.

    Args:
        batch_gt_instances (list[InstanceData]): ``bboxes`` and ``labels`` of each image.
        batch_img_metas (list[dict]): ``batch_input_shape`` and ``img_shape`` of each image.
        map_shape (Sequence[int]): Height and width of the maps.
        num_classes (int): Number of classes.
        radius_form (str): See :func:`gaussian_radius`.
        min_radius (int): Least radius of a bump, in cells.

    Returns:
        CellObjects: The objects of the first image, then those of the second, and so on.

    Raises:
        ValueError: A label is no class of the head.
    """
    boxes, labels, images = [], [], []
    for index, (gt, meta) in enumerate(zip(batch_gt_instances, batch_img_metas, strict=True)):
        limits = gt.bboxes.new_tensor([*meta["img_shape"][1::-1]] * 2)
        clipped = gt.bboxes.clamp(min=0).minimum(limits)
        gt = usable_instances(gt.new(bboxes=clipped, labels=gt.labels), num_classes)
        boxes.append(gt.bboxes)
        labels.append(gt.labels)
        images.append(torch.full_like(gt.labels, index))
    input_height, input_width = batch_img_metas[0]["batch_input_shape"]
    height, width = map_shape
    # In double precision, as sizes are rounded up and radii down.
    cells = torch.cat(boxes).double()
    cells = cells * cells.new_tensor([width / input_width, height / input_height] * 2)
    radii = gaussian_radius((cells[:, 2:] - cells[:, :2]).ceil(), form=radius_form)
    radii = radii.clamp(min=min_radius)
    shape = (len(boxes), num_classes, height, width)
    return CellObjects(cells, torch.cat(labels), torch.cat(images), radii, shape)
