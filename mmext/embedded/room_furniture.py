"""Furniture of the rooms data: what each class looks like, made of boxes and upright cylinders.

Local coordinates in metres: x to the front, y to the left, z up from the floor; the object's
footprint is centred on the origin, its depth along x, its width along y.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CLASSES = (
    "bed",
    "sofa",
    "chair",
    "table",
    "desk",
    "night_stand",
    "drawer",
    "dresser",
    "cabinet",
    "bookshelf",
)
Range = tuple[float, float]
_LOW_BED: Range = (0.42, 0.52)
"""Heights of a bed without headboard."""


@dataclass(frozen=True)
class Make:
    """How furniture of a style is made.

    Attributes:
        stretch: Factors on depth, width and height of everything.
        leg: Thickness of legs.
        panels: Probability that tables stand on two panels in place of four legs.
        pedestal: Probability that a chair stands on one column.
        headboard: Probability that a bed has one.
    """

    stretch: tuple[float, float, float]
    leg: Range
    panels: float
    pedestal: float
    headboard: float


@dataclass(frozen=True)
class Furniture:
    """An object in its own coordinates.

    Attributes:
        name: Its class, or ``clutter``.
        size: Depth, width and height.
        boxes: (P, 6) parts: centre and full sizes.
        cylinders: (Q, 5) upright parts: centre, radius, height.
    """

    name: str
    size: tuple[float, float, float]
    boxes: np.ndarray
    cylinders: np.ndarray


def _between(low: list[float], high: list[float]) -> list[float]:
    """Return centre and full sizes of the box between two corners."""
    return [(a + b) / 2 for a, b in zip(low, high, strict=True)] + [
        b - a for a, b in zip(low, high, strict=True)
    ]


def _legs(depth: float, width: float, top: float, thick: float) -> list[list[float]]:
    x, y = (depth - thick) / 2, (width - thick) / 2
    return [[sx * x, sy * y, top / 2, thick, thick, top] for sx in (-1, 1) for sy in (-1, 1)]


def _bed(rng: np.random.Generator, make: Make, size: np.ndarray) -> tuple[list, list]:
    depth, width, height = size
    seat = rng.uniform(0.42, 0.52) if height > _LOW_BED[1] else height
    parts = [
        _between([-depth / 2, -width / 2, 0], [depth / 2, width / 2, seat - 0.2]),
        _between(
            [-depth / 2 + 0.05, -width / 2 + 0.03, seat - 0.2],
            [depth / 2 - 0.04, width / 2 - 0.03, seat],
        ),
    ]
    if height > seat:
        parts.append(_between([-depth / 2, -width / 2, 0], [-depth / 2 + 0.06, width / 2, height]))
    return parts, []


def _sofa(rng: np.random.Generator, make: Make, size: np.ndarray) -> tuple[list, list]:
    depth, width, height = size
    seat, arm = rng.uniform(0.4, 0.46), rng.uniform(0.12, 0.2)
    parts = [
        _between([-depth / 2, -width / 2, 0], [depth / 2, width / 2, seat]),
        _between([-depth / 2, -width / 2, seat], [-depth / 2 + 0.22, width / 2, height]),
    ]
    for side in (-1, 1):
        edges = sorted((side * width / 2, side * (width / 2 - arm)))
        parts.append(_between([-depth / 2, edges[0], seat], [depth / 2, edges[1], seat + 0.18]))
    return parts, []


def _chair(rng: np.random.Generator, make: Make, size: np.ndarray) -> tuple[list, list]:
    depth, width, height = size
    seat = rng.uniform(0.42, 0.48)
    parts = [
        _between([-depth / 2, -width / 2, seat - 0.05], [depth / 2, width / 2, seat]),
        _between([-depth / 2, -width / 2, seat + 0.08], [-depth / 2 + 0.05, width / 2, height]),
    ]
    if rng.random() < make.pedestal:
        return parts, [[0, 0, seat / 2, 0.04, seat], [0, 0, 0.03, 0.45 * min(depth, width), 0.06]]
    return parts + _legs(depth, width, seat - 0.05, rng.uniform(*make.leg)), []


def _table(rng: np.random.Generator, make: Make, size: np.ndarray) -> tuple[list, list]:
    depth, width, height = size
    parts = [_between([-depth / 2, -width / 2, height - 0.04], [depth / 2, width / 2, height])]
    if rng.random() < make.panels:
        for side in (-1, 1):
            y = side * (width / 2 - 0.02)
            parts.append([0, y, (height - 0.04) / 2, depth, 0.04, height - 0.04])
        return parts, []
    return parts + _legs(depth, width, height - 0.04, rng.uniform(*make.leg)), []


def _round_table(rng: np.random.Generator, make: Make, size: np.ndarray) -> tuple[list, list]:
    radius, height = size[0] / 2, size[2]
    return [], [
        [0, 0, height - 0.02, radius, 0.04],
        [0, 0, (height - 0.04) / 2, 0.06, height - 0.04],
        [0, 0, 0.02, 0.5 * radius, 0.04],
    ]


def _chest(rng: np.random.Generator, make: Make, size: np.ndarray) -> tuple[list, list]:
    depth, width, height = size
    foot = rng.uniform(0.0, 0.1)
    return [
        _between(
            [-depth / 2, -width / 2 + 0.02, foot],
            [depth / 2 - 0.03, width / 2 - 0.02, height - 0.03],
        ),
        _between([-depth / 2, -width / 2, height - 0.03], [depth / 2, width / 2, height]),
        *_legs(depth - 0.03, width - 0.04, max(foot, 0.02), 0.05),
    ], []


def _bookshelf(rng: np.random.Generator, make: Make, size: np.ndarray) -> tuple[list, list]:
    depth, width, height = size
    parts = [_between([-depth / 2, -width / 2, 0], [-depth / 2 + 0.02, width / 2, height])]
    for side in (-1, 1):
        parts.append([0, side * (width / 2 - 0.015), height / 2, depth, 0.03, height])
    levels = np.linspace(0.05, height - 0.015, 6)
    for level in levels:
        parts.append([0, 0, level, depth, width, 0.03])
    for level in levels[:-1]:  # a block of books on most boards
        if rng.random() < 0.7:
            wide, tall = rng.uniform(0.3, 0.9) * (width - 0.06), rng.uniform(0.15, 0.25)
            place = rng.uniform(-1, 1) * (width - 0.06 - wide) / 2
            parts.append([-0.03, place, level + tall / 2, depth - 0.1, wide, tall])
    return parts, []


_Shape = Callable[[np.random.Generator, Make, np.ndarray], tuple[list, list]]
# Ranges of depth, width and height. Several classes share their looks on purpose, so that only
# where an object stands says what it is: single beds and daybeds (sofas), tables and desks, night
# stands and office drawers, dressers and cabinets.
_SHAPES: dict[str, tuple[_Shape, tuple[Range, Range, Range]]] = {
    "double_bed": (_bed, ((1.95, 2.1), (1.35, 1.8), (0.85, 1.1))),
    "single_bed": (_bed, ((1.9, 2.05), (0.9, 1.15), (0.7, 0.95))),
    "sofa": (_sofa, ((0.8, 0.98), (1.5, 2.2), (0.75, 0.92))),
    "chair": (_chair, ((0.44, 0.56), (0.42, 0.54), (0.8, 0.98))),
    "rectangular_table": (_table, ((0.65, 0.9), (1.1, 1.6), (0.7, 0.77))),
    "round_table": (_round_table, ((0.8, 1.2), (0.8, 1.2), (0.7, 0.77))),
    "coffee_table": (_table, ((0.5, 0.7), (0.8, 1.2), (0.38, 0.48))),
    "small_chest": (_chest, ((0.38, 0.5), (0.4, 0.55), (0.45, 0.63))),
    "long_chest": (_chest, ((0.42, 0.58), (0.9, 1.6), (0.75, 0.95))),
    "bookshelf": (_bookshelf, ((0.28, 0.38), (0.7, 1.15), (1.5, 2.0))),
}
CLASS_SHAPES = {
    "bed": ("double_bed", "single_bed"),
    "sofa": ("sofa", "single_bed"),
    "chair": ("chair",),
    "table": ("rectangular_table", "round_table", "coffee_table"),
    "desk": ("rectangular_table",),
    "night_stand": ("small_chest",),
    "drawer": ("small_chest",),
    "dresser": ("long_chest",),
    "cabinet": ("long_chest",),
    "bookshelf": ("bookshelf",),
}
"""The shapes that a class may have."""


def build(name: str, shape: str, make: Make, rng: np.random.Generator) -> Furniture:
    """Make an object.

    Args:
        name: Its class.
        shape: One of the class's ``CLASS_SHAPES``.
        make: Style.
        rng: Decides sizes and details.
    """
    function, ranges = _SHAPES[shape]
    size = np.array([rng.uniform(*span) for span in ranges]) * make.stretch
    if shape == "round_table":
        size[1] = size[0]
    if function is _bed and rng.random() >= make.headboard:
        size[2] = rng.uniform(*_LOW_BED)
    boxes, cylinders = function(rng, make, size)
    return Furniture(
        name,
        tuple(size.tolist()),
        np.array(boxes, float).reshape(-1, 6),
        np.array(cylinders, float).reshape(-1, 5),
    )


def clutter(rng: np.random.Generator) -> Furniture:
    """Make something that has no label: a crate or a bin."""
    size = rng.uniform((0.2, 0.2, 0.15), (0.45, 0.45, 0.5))
    if rng.random() < 0.5:
        size[1] = size[0]
        parts = np.zeros((0, 6)), np.array([[0, 0, size[2] / 2, size[0] / 2, size[2]]])
    else:
        parts = np.array([[0, 0, size[2] / 2, *size]]), np.zeros((0, 5))
    return Furniture("clutter", tuple(size.tolist()), *parts)
