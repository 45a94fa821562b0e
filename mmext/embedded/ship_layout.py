"""Where the vessels, quays, distractors and clouds of a ``ships`` image are: random, no drawing.

All numbers come from the generator that is passed in and none from the photographs, so the
annotations depend on nothing but the seed.
"""

import math
from dataclasses import dataclass, field

import cv2
import numpy as np


@dataclass(frozen=True)
class VesselKind:
    """A class of the data set: its length in pixels and its length : width, uniform in both."""

    name: str
    length: tuple[float, float]
    aspect: tuple[float, float]


KINDS = (
    VesselKind("raft", length=(15, 34), aspect=(1.0, 1.3)),
    VesselKind("tug", length=(26, 52), aspect=(1.9, 3.2)),
    VesselKind("ferry", length=(44, 88), aspect=(3.2, 6.0)),
    VesselKind("barge", length=(64, 116), aspect=(7.0, 9.0)),
)
GAP = 1.5
"""Least free space around a vessel, in pixels: half of that between neighbours of a row."""


@dataclass(frozen=True)
class Rect:
    """A rotated rectangle: centre, length along ``angle`` and width, pixels; angle in radians.

    The x axis points right, y down, so a positive angle turns clockwise on the screen.
    """

    x: float
    y: float
    length: float
    width: float
    angle: float

    def corners(self, margin: float = 0.0) -> np.ndarray:
        """Return the (4, 2) corners of the rectangle grown by ``margin`` on each side.

        They go round from stern to bow along the left side and back along the right one.
        """
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        half = np.array([self.length / 2 + margin, self.width / 2 + margin])
        signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        return signs * half @ np.array([[cos, sin], [-sin, cos]]) + [self.x, self.y]


@dataclass(frozen=True)
class Vessel:
    """One object: its class, its box, the seed of its looks, and the length of its wake."""

    kind: str
    rect: Rect
    looks: int
    wake: float


@dataclass
class Scene:
    """What is in an image, in drawing order; ``looks`` seeds the background.

    Attributes:
        size: Side of the image in pixels.
        backdrop: ``'water'`` or ``'land'`` (a photograph, as a yard full of vessels ashore).
        looks: Seed of background, light and noise.
        quay: The quay's edge as a point and a direction (radians); land is on its left. None
            where there is none.
        vessels: The annotated objects.
        distractors: What is not annotated though it looks a little like vessels: (kind,
            rectangle, seed) with kind ``'jetty'``, ``'buoy'``, ``'rock'`` or ``'wake'``.
        occluders: What lies over vessels: (kind, rectangle) with kind ``'cloud'`` or ``'beam'``.
    """

    size: int
    backdrop: str
    looks: int
    quay: tuple[float, float, float] | None = None
    vessels: list[Vessel] = field(default_factory=list)
    distractors: list[tuple[str, Rect, int]] = field(default_factory=list)
    occluders: list[tuple[str, Rect]] = field(default_factory=list)


class Layout:
    """Puts things into a scene so that no two of them overlap.

    Args:
        rng: Source of all random numbers.
        size: Side of the image in pixels.
    """

    # Vessels whose box crosses the border keep it; the map is larger, so that they count there.
    BORDER = 64

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng = rng
        self.size = size
        self.taken = np.zeros((size + 2 * self.BORDER,) * 2, np.uint8)
        backdrop = "water" if rng.random() < 0.6 else "land"
        self.scene = Scene(size, backdrop, self.seed())

    def seed(self) -> int:
        """Return a seed for something's looks."""
        return int(self.rng.integers(2**31))

    def place(self, rect: Rect, margin: float = GAP) -> bool:
        """Take the rectangle's space if it is free; tell whether it was."""
        mask = np.zeros_like(self.taken)
        points = (rect.corners(margin) + self.BORDER) * 16
        cv2.fillConvexPoly(mask, np.round(points).astype(np.int32), 1, shift=4)
        if (mask & self.taken).any():
            return False
        self.taken |= mask
        return True

    def random_rect(self, kind: VesselKind) -> Rect:
        """Return a box of the class anywhere in the image at any angle."""
        length = self.rng.uniform(*kind.length)
        width = length / self.rng.uniform(*kind.aspect)
        x, y = self.rng.uniform(0, self.size, 2)
        return Rect(x, y, length, width, self.rng.uniform(-math.pi, math.pi))

    def add_quay(self) -> None:
        """Cut the image by a quay and moor rows of parallel vessels along it."""
        angle = self.rng.uniform(-math.pi, math.pi)
        normal = np.array([-math.sin(angle), math.cos(angle)])  # into the water
        middle = np.full(2, self.size / 2) - normal * self.size * self.rng.uniform(0.15, 0.4)
        self.scene.quay = (*middle.tolist(), angle)
        land = Rect(*(middle - normal * self.size), 4 * self.size, 2 * self.size, angle)
        self.place(land, margin=0)
        self.add_row(middle, angle, normal)

    def add_row(self, point: np.ndarray, along: float, normal: np.ndarray) -> None:
        """Moor vessels of one class side by side, bow or stern to the line through ``point``."""
        kind = KINDS[self.rng.integers(len(KINDS))]
        lengthwise = self.rng.random() < 0.25
        position = -self.rng.uniform(0.1, 0.5) * self.size
        end = position + self.rng.uniform(0.35, 0.9) * self.size
        while position < end:
            rect = self.random_rect(kind)
            turn = math.pi * int(self.rng.integers(2)) + self.rng.normal(0, 0.015)
            across, deep = (rect.length, rect.width) if lengthwise else (rect.width, rect.length)
            position += across / 2 + GAP + 0.5 + self.rng.uniform(0, 2.5)
            centre = point + normal * (deep / 2 + GAP + self.rng.uniform(1, 4))
            centre = centre + position * np.array([math.cos(along), math.sin(along)])
            position += across / 2 + GAP
            angle = along + turn + (0 if lengthwise else math.pi / 2)
            self.add_vessel(kind, Rect(*centre, rect.length, rect.width, angle), wake=0.0)

    def add_vessel(self, kind: VesselKind, rect: Rect, wake: float) -> None:
        """Add a vessel where there is room and its centre is inside the image."""
        inside = min(rect.x, rect.y) >= 0 and max(rect.x, rect.y) < self.size
        looks = self.seed()
        if inside and self.place(rect):
            self.scene.vessels.append(Vessel(kind.name, rect, looks, wake))

    def add_free_vessels(self, count: int) -> None:
        """Try to place ``count`` vessels of random classes anywhere; under way on water."""
        for _ in range(count):
            kind = KINDS[self.rng.integers(len(KINDS))]
            rect = self.random_rect(kind)
            under_way = self.rng.random() < 0.4 and kind.name in ("tug", "ferry")
            wake = self.rng.uniform(0.4, 1.2) * rect.length
            afloat = self.scene.backdrop == "water"
            self.add_vessel(kind, rect, wake if under_way and afloat else 0.0)

    def add_distractors(self, count: int) -> None:
        """Try to place ``count`` things that are not to be detected."""
        sizes = {
            "jetty": (30, 110, 9),
            "buoy": (5, 12, 1),
            "rock": (10, 36, 1.6),
            "wake": (30, 60, 3),
        }
        for _ in range(count):
            kind = str(self.rng.choice(list(sizes)))
            low, high, aspect = sizes[kind]
            length = self.rng.uniform(low, high)
            x, y = self.rng.uniform(0, self.size, 2)
            rect = Rect(x, y, length, length / aspect, self.rng.uniform(-math.pi, math.pi))
            looks = self.seed()
            if self.place(rect):
                self.scene.distractors.append((kind, rect, looks))

    def add_occluders(self, count: int) -> None:
        """Lay ``count`` clouds or crane beams over vessels."""
        for _ in range(count):
            beam = self.rng.random() < 0.5
            chosen = self.rng.random()
            offset = self.rng.normal(0, 0.3, 2)
            angle = self.rng.uniform(-math.pi, math.pi)
            length, width = (90, 7) if beam else self.rng.uniform(24, 60, 2)
            if self.scene.vessels:
                rect = self.scene.vessels[int(chosen * len(self.scene.vessels))].rect
                x, y = np.array([rect.x, rect.y]) + offset * rect.length
                kind = "beam" if beam else "cloud"
                self.scene.occluders.append((kind, Rect(x, y, length, width, angle)))


def lay_out(seed: tuple[int, ...], size: int) -> Scene:
    """Return a random scene.

    Args:
        seed: Seeds of the generator: data set, split, image.
        size: Side of the image in pixels; the number of things grows with its area.

    Returns:
        The scene. It has vessels in nearly every case.
    """
    layout = Layout(np.random.default_rng(seed), size)
    rng, share = layout.rng, (size / 256) ** 2
    if rng.random() < 0.45:
        layout.add_quay()
    for _ in range(int(rng.poisson(0.4 * share))):
        angle = rng.uniform(-math.pi, math.pi)
        point = rng.uniform(0.2, 0.8, 2) * size
        layout.add_row(point, angle, np.array([-math.sin(angle), math.cos(angle)]))
    layout.add_free_vessels(round(rng.uniform(4, 9) * share))
    layout.add_distractors(round(rng.uniform(1, 5) * share))
    if rng.random() < 0.35:
        layout.add_occluders(max(1, round(share * rng.uniform(0.5, 2))))
    return layout.scene
