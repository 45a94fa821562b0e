"""Restoring large images tile by tile, with the memory of one tile."""

from collections.abc import Callable, Iterator
from itertools import product

import torch
from torch import Tensor


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Return where tiles begin along one side.

    Args:
        length: Side of the image in pixels.
        tile: Side of a tile.
        overlap: Pixels that neighbours share at least.

    Returns:
        Starts of tiles that lie inside the image and cover it; the last one is moved back so that
        all tiles have one size.
    """
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def _weights(length: int, tile: int, overlap: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield a slice and the (size,) weights of each tile along one side; weights add up to 1.

    Weights fall linearly over the middle half of the overlap, so that no seam is left where tiles
    disagree; the outer quarter, where a tile lacks its surroundings, counts only at the image's
    border, where no other tile is.
    """
    size = min(tile, length)
    starts = tile_starts(length, tile, overlap)
    rim = torch.arange(size, dtype=torch.float64) + 0.5
    rim = torch.minimum(rim, rim.flip(0))
    window = ((rim - overlap / 4) / max(overlap / 2, 1)).clamp(1e-6, 1)
    total = torch.zeros(length, dtype=torch.float64)
    for start in starts:
        total[start : start + size] += window
    for start in starts:
        where = slice(start, start + size)
        yield where, window / total[where]


def tiled_forward(
    network: Callable[[Tensor], Tensor],
    image: Tensor,
    tile: int | tuple[int, int],
    overlap: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Run a network over overlapping tiles and blend its outputs.

    Memory beyond input and output is that of one tile, whatever the size of the image.

    Args:
        network: Maps (B, C, h, w) to (B, C', h, w), for tiles of the given size or, for an image
            smaller than a tile, of the image's.
        image: (B, C, H, W).
        tile: Side of a tile in pixels, or (height, width).
        overlap: Pixels that neighbours share at least. The tiles are blended in the middle half of
            them; 32 or more hides what differs at the rim of a tile.
        progress: Called with (tiles done, tiles in all) after each tile.

    Returns:
        (B, C', H, W) in float32. The same as ``network(image)`` where a network's
        output does not depend on what is outside the tile.

    Raises:
        ValueError: The overlap is negative, or not smaller than a tile.
    """
    sides = (tile, tile) if isinstance(tile, int) else tuple(tile)
    if not 0 <= overlap < min(sides):
        raise ValueError(
            f"overlap {overlap} with tiles of {sides[0]}x{sides[1]} pixels: expected at least 0 "
            "and less than a tile's side"
        )
    rows, columns = (
        list(_weights(length, side, overlap))
        for length, side in zip(image.shape[-2:], sides, strict=True)
    )
    total = len(rows) * len(columns)
    result = None
    for index, ((row, row_weights), (column, column_weights)) in enumerate(product(rows, columns)):
        part = network(image[..., row, column])
        if result is None:
            # float32: tiles in half precision are added up here.
            result = part.new_zeros(*part.shape[:2], *image.shape[-2:], dtype=torch.float32)
        weights = row_weights[:, None] * column_weights
        result[..., row, column] += part * weights.to(result)
        if progress is not None:
            progress(index + 1, total)
    return result
