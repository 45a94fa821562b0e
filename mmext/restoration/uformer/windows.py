"""Cutting maps into attention windows: one gather in, one gather out, and masks by kind of window.

A map of any size is cut as if it were padded on the right and at the bottom to whole windows and,
for shifted blocks, rolled. Few windows then need a mask: those that hold padding, or parts of the
map that the roll brought together. They are the last ones of each axis, so there are a handful of
different masks whatever the size of the map. Windows are ordered by their mask.
"""

from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Swin's value for pairs that the roll brought together, and the official code's.
_APART = -100.0


class WindowLayout(NamedTuple):
    """Where the tokens of a batch of maps go, made by :func:`window_layout`.

    Attributes:
        size (tuple[int, int, int]): Maps B, their height and width.
        padded (tuple[int, int]): Height and width in whole windows.
        window (int): Side of a window.
        run (int): Tokens that stay side by side, and are moved at once.
        gather (Tensor): Run of the maps for each run of the windows.
        scatter (Tensor): The inverse of ``gather``.
        counts (tuple[int, ...]): Windows per group.
        masks (tuple[Tensor | None, ...]): For each group None, or (window^2, window^2) float32 to
            be added to the logits of queries by keys.
    """

    size: tuple[int, int, int]
    padded: tuple[int, int]
    window: int
    run: int
    gather: Tensor
    scatter: Tensor
    counts: tuple[int, ...]
    masks: tuple[Tensor | None, ...]


@torch.compiler.assume_constant_result
def window_layout(
    size: tuple[int, int, int], window: int, shift: int, device: torch.device
) -> WindowLayout:
    """Return the layout for maps of a size, built once and kept.

    Args:
        size (tuple[int, int, int]): Maps B, their height and width.
        window (int): Side of a window in tokens.
        shift (int): Tokens by which the maps are rolled up and to the left, less than a window.
        device (torch.device): Where the indices and masks are wanted.

    Returns:
        WindowLayout: Its tensors must not be written to.
    """
    # While a program is recorded, tensors are stand-ins that must not be kept.
    build = _build.__wrapped__ if torch.compiler.is_compiling() else _build
    return build(size, window, shift, device)


@lru_cache(maxsize=128)
def _build(
    size: tuple[int, int, int], window: int, shift: int, device: torch.device
) -> WindowLayout:
    batch, height, width = size
    run = gcd(window, shift)
    rows, row_labels = _axis(height, window, shift)
    cols, col_labels = _axis(width, window, shift)
    runs = cols[:, ::run] // run
    runs_per_row = len(cols) * window // run
    # (window rows, window columns, rows in a window, runs in a row of a window)
    index = rows[:, None, :, None] * runs_per_row + runs[None, :, None, :]
    index = index.reshape(len(rows) * len(cols), -1)

    row_kinds, row_kind = np.unique(row_labels, axis=0, return_inverse=True)
    col_kinds, col_kind = np.unique(col_labels, axis=0, return_inverse=True)
    kind = (row_kind.reshape(-1, 1) * len(col_kinds) + col_kind.reshape(1, -1)).reshape(-1)
    kinds, counts = np.unique(kind, return_counts=True)
    gather, masks = [], []
    for number in kinds[np.argsort(-counts, kind="stable")]:
        members = index[kind == number]
        offsets = np.arange(batch)[:, None, None] * (len(rows) * window * runs_per_row)
        gather.append((members + offsets).reshape(-1))
        masks.append(_mask(row_kinds[number // len(col_kinds)], col_kinds[number % len(col_kinds)]))
    order = np.concatenate(gather)
    # Kept for training too, so no inference tensors.
    with torch.inference_mode(False):
        return WindowLayout(
            size=size,
            padded=(len(rows) * window, len(cols) * window),
            window=window,
            run=run,
            gather=torch.from_numpy(order).to(device),
            scatter=torch.from_numpy(np.argsort(order)).to(device),
            counts=tuple(len(part) * run // window**2 for part in gather),
            masks=tuple(None if m is None else torch.from_numpy(m).to(device) for m in masks),
        )


def _axis(length: int, window: int, shift: int) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and labels of one axis, both (windows, window).

    Labels are 0, 1 for what the roll brought to the end, 2 for padding.
    """
    count = -(-length // window)
    rolled = np.arange(count * window)
    positions = (rolled + shift) % (count * window)
    labels = np.where(positions >= length, 2, (rolled >= count * window - shift) * (shift > 0))
    return positions.reshape(count, window), labels.reshape(count, window)


def _mask(row_labels: np.ndarray, col_labels: np.ndarray) -> np.ndarray | None:
    """Return the mask of a window from the labels of its rows and columns."""
    rows, cols = (a.reshape(-1) for a in np.meshgrid(row_labels, col_labels, indexing="ij"))
    padding = (rows == 2) | (cols == 2)
    apart = (rows[:, None] != rows) | (cols[:, None] != cols)
    mask = np.where(apart, _APART, 0).astype(np.float32)
    # Padding is no key for anyone. As queries it may look where it likes, since its output is
    # dropped; a row of nothing but -inf would turn to NaN.
    mask[:, padding] = -np.inf
    mask[padding] = 0
    return mask if mask.any() else None


class _Permute(torch.autograd.Function):
    """``rows[index]`` for a permutation, whose gradient is a gather too, not a sum."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(index, inverse)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        index, inverse = ctx.saved_tensors
        return _Permute.apply(grad, inverse, index), None, None


def to_windows(x: Tensor, layout: WindowLayout) -> Tensor:
    """Cut maps into windows.

    Args:
        x (Tensor): (B, H, W, C) maps.
        layout (WindowLayout): Made for their size.

    Returns:
        Tensor: (windows, window^2, C), in the order of the layout's groups.
    """
    _, height, width = layout.size
    if layout.padded != (height, width):
        x = functional.pad(x, (0, 0, 0, layout.padded[1] - width, 0, layout.padded[0] - height))
    channels = x.shape[-1]
    rows = x.reshape(-1, layout.run * channels)
    rows = _Permute.apply(rows, layout.gather, layout.scatter)
    return rows.view(-1, layout.window**2, channels)


def to_maps(windows: Tensor, layout: WindowLayout) -> Tensor:
    """Undo :func:`to_windows`, and drop the padding.

    Args:
        windows (Tensor): (windows, window^2, C).
        layout (WindowLayout): The one they were cut with.

    Returns:
        Tensor: (B, H, W, C).
    """
    batch, height, width = layout.size
    channels = windows.shape[-1]
    rows = windows.reshape(-1, layout.run * channels)
    rows = _Permute.apply(rows, layout.scatter, layout.gather)
    return rows.view(batch, *layout.padded, channels)[:, :height, :width]
