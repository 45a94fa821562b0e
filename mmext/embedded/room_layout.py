"""Which furniture stands in a room of the rooms data, and where.

Coordinates in metres: the floor is z = 0, its middle the origin, walls are parallel to x and y.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .room_furniture import Furniture, Make, Range, build, clutter

TYPES = ("bedroom", "office", "kitchen", "lounge")
GAP = 0.04
"""Least distance between objects that do not belong together."""


@dataclass(frozen=True)
class Item:
    """An object in the room.

    Attributes:
        furniture: What it is.
        x: Middle of its footprint.
        y: Middle of its footprint.
        yaw: Where its front points, counter-clockwise from +x, in radians.
    """

    furniture: Furniture
    x: float
    y: float
    yaw: float

    def footprint(self) -> np.ndarray:
        """Return the (4, 2) corners of the footprint."""
        depth, width, _ = self.furniture.size
        local = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * (depth / 2, width / 2)
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return local @ np.array([[cos, sin], [-sin, cos]]) + (self.x, self.y)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the object's own coordinates lies."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + cos * x - sin * y, self.y + sin * x + cos * y


@dataclass
class Room:
    """A furnished room.

    Attributes:
        type: One of ``TYPES``.
        size: Extents along x and y, and height.
        items: What stands there.
    """

    type: str
    size: tuple[float, float, float]
    items: list[Item] = field(default_factory=list)


def _overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two convex quadrilaterals come nearer to each other than ``GAP``."""
    for corners in (a, b):
        for i in range(4):
            edge = corners[i] - corners[i - 1]
            normal = np.array([-edge[1], edge[0]]) / np.hypot(*edge)
            p, q = a @ normal, b @ normal
            if p.min() > q.max() + GAP or q.min() > p.max() + GAP:
                return False
    return True


class _Furnisher:
    """Puts furniture into a room where there is space, and leaves out what finds none."""

    def __init__(self, room: Room, make: Make, rng: np.random.Generator) -> None:
        self.room, self.make, self.rng = room, make, rng

    def try_place(self, item: Item, ignore: Sequence[Item] = ()) -> Item | None:
        """Put an item there unless it leaves the room or stands in another one's place."""
        corners, half = item.footprint(), np.array(self.room.size[:2]) / 2
        if (np.abs(corners) > half - 0.01).any():
            return None
        others = (other for other in self.room.items if not any(other is i for i in ignore))
        if any(_overlap(corners, other.footprint()) for other in others):
            return None
        self.room.items.append(item)
        return item

    def at_wall(self, name: str, shape: str) -> Item | None:
        """Put something with its back to a wall."""
        furniture = build(name, shape, self.make, self.rng)
        for _ in range(20):
            side = self.rng.integers(4)
            along, across = self.room.size[1 - side % 2], self.room.size[side % 2]
            free = (along - furniture.size[1]) / 2
            if free <= 0.02:
                continue
            yaw = side * math.pi / 2
            back = -across / 2 + furniture.size[0] / 2 + self.rng.uniform(0.02, 0.1)
            slide = self.rng.uniform(-free, free)
            x, y = (
                math.cos(yaw) * back - math.sin(yaw) * slide,
                math.sin(yaw) * back + math.cos(yaw) * slide,
            )
            item = self.try_place(Item(furniture, x, y, yaw))
            if item is not None:
                return item
        return None

    def in_middle(self, name: str, shape: str, turned: float = 0.15) -> Item | None:
        """Put something into the middle part of the room, turned at most a little."""
        furniture = build(name, shape, self.make, self.rng)
        for _ in range(20):
            x, y = (self.rng.uniform(-0.25, 0.25) * side for side in self.room.size[:2])
            yaw = self.rng.integers(4) * math.pi / 2 + self.rng.uniform(-turned, turned)
            item = self.try_place(Item(furniture, x, y, yaw))
            if item is not None:
                return item
        return None

    def beside(self, item: Item, name: str, shape: str, x: float, side: int) -> Item | None:
        """Put something to the left or right of an item, its front the same way.

        Args:
            item: The item.
            name: Class of the new object.
            shape: Its shape.
            x: Where its back is, from the back of the item.
            side: 1 for left, -1 for right.
        """
        furniture = build(name, shape, self.make, self.rng)
        depth, width, _ = item.furniture.size
        local = -depth / 2 + x + furniture.size[0] / 2
        away = side * (width / 2 + furniture.size[1] / 2 + self.rng.uniform(0.06, 0.2))
        return self.try_place(Item(furniture, *item.place(local, away), item.yaw))

    def chairs_around(self, table: Item, places: Sequence[float]) -> None:
        """Put chairs around an item, looking at it and partly under it.

        Args:
            table: The item.
            places: Directions from the item to the chairs, in radians from its front.
        """
        for direction in places:
            chair = build("chair", "chair", self.make, self.rng)
            cos, sin = math.cos(direction), math.sin(direction)
            half = abs(cos) * table.furniture.size[0] / 2 + abs(sin) * table.furniture.size[1] / 2
            away = half + chair.size[0] * self.rng.uniform(0.05, 0.5)
            slide = self.rng.uniform(-0.1, 0.1)
            place = table.place(away * cos - slide * sin, away * sin + slide * cos)
            yaw = table.yaw + direction + math.pi + self.rng.uniform(-0.4, 0.4)
            self.try_place(Item(chair, *place, yaw), ignore=[table])

    def some(self, least: int, most: int) -> range:
        """Return a range of a random length."""
        return range(self.rng.integers(least, most + 1))

    def chance(self, probability: float) -> bool:
        """Return True with a probability."""
        return bool(self.rng.random() < probability)


def _bedroom(f: _Furnisher) -> None:
    for _ in f.some(1, 2):
        single = f.chance(0.4)
        bed = f.at_wall("bed", "single_bed" if single else "double_bed")
        if bed is not None:
            for side in (-1, 1):
                if f.chance(0.7):
                    f.beside(bed, "night_stand", "small_chest", f.rng.uniform(0, 0.05), side)
    if f.chance(0.75):
        f.at_wall("dresser", "long_chest")
    if f.chance(0.3):
        f.at_wall("night_stand", "small_chest")
    if f.chance(0.25):
        _desk(f)
    if f.chance(0.25):
        f.at_wall("bookshelf", "bookshelf")


def _desk(f: _Furnisher) -> Item | None:
    desk = f.at_wall("desk", "rectangular_table")
    if desk is not None:
        f.chairs_around(desk, [0.0])
    return desk


def _office(f: _Furnisher) -> None:
    for _ in f.some(1, 3):
        desk = _desk(f)
        if desk is not None and f.chance(0.6):
            side = int(f.rng.choice([-1, 1]))
            f.beside(desk, "drawer", "small_chest", f.rng.uniform(0, 0.2), side)
    if f.chance(0.5):
        f.at_wall("drawer", "small_chest")
    for _ in f.some(0, 2):
        f.at_wall("bookshelf", "bookshelf")
    if f.chance(0.4):
        f.at_wall("cabinet", "long_chest")


def _kitchen(f: _Furnisher) -> None:
    shape = "round_table" if f.chance(0.25) else "rectangular_table"
    table = f.at_wall("table", shape) if f.chance(0.3) else f.in_middle("table", shape)
    if table is not None:
        around = f.rng.permutation([0.0, math.pi / 2, math.pi, -math.pi / 2])
        f.chairs_around(table, around[: f.rng.integers(2, 5)])
    for _ in f.some(1, 3):
        f.at_wall("cabinet", "long_chest")


def _lounge(f: _Furnisher) -> None:
    for _ in f.some(1, 2):
        f.at_wall("sofa", "single_bed" if f.chance(0.35) else "sofa")
    if f.chance(0.7):
        f.in_middle("table", "coffee_table")
    if f.chance(0.5):
        f.at_wall("cabinet", "long_chest")
    if f.chance(0.5):
        f.at_wall("bookshelf", "bookshelf")
    for _ in f.some(0, 2):
        f.in_middle("chair", "chair", turned=0.7)


_FURNISH = dict(bedroom=_bedroom, office=_office, kitchen=_kitchen, lounge=_lounge)


def lay_out(kind: str, make: Make, side: Range, litter: int, rng: np.random.Generator) -> Room:
    """Furnish a room.

    Args:
        kind: One of ``TYPES``.
        make: How the furniture is made.
        side: Least and largest length of a wall.
        litter: Most objects without label.
        rng: Decides everything.
    """
    room = Room(kind, (rng.uniform(*side), rng.uniform(*side), rng.uniform(2.4, 2.9)))
    furnisher = _Furnisher(room, make, rng)
    _FURNISH[kind](furnisher)
    for _ in furnisher.some(0, litter):
        place = (rng.uniform(-0.45, 0.45) * length for length in room.size[:2])
        furnisher.try_place(Item(clutter(rng), *place, rng.uniform(-math.pi, math.pi)))
    return room
