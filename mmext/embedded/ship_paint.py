"""Drawing the scenes of :mod:`mmext.embedded.ship_layout` over photographs and rendered water."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from .ship_layout import Rect, Scene, Vessel

SAMPLES = 3
"""Samples per pixel and axis that a shape's edges are smoothed with."""

Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Tells which points are inside; both coordinates run from -1 to 1 over the box."""


def _raft(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    corner = np.maximum(abs(u) - 0.85, 0) ** 2 + np.maximum(abs(v) - 0.85, 0) ** 2
    return (np.maximum(abs(u), abs(v)) <= 1) & (corner <= 0.15**2)


def _tug(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    bow = np.maximum(1 - np.maximum(u, 0) ** 2, 0) ** 0.6
    return (abs(u) <= 1) & (abs(v) <= bow)


def _ferry(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return abs(v) <= np.maximum(1 - u**4, 0) ** 0.5 - 1e-9


def _barge(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return (abs(u) <= 1) & (abs(v) <= 1 - np.maximum(u - 0.9, 0) * 4)


def _rectangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(abs(u), abs(v)) <= 1


def _disc(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u**2 + v**2 <= 1


def _wake(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Foam that widens and thins astern; its front end is at u = 1."""
    return (abs(u) <= 1) & (abs(v) <= 0.35 + 0.325 * (1 - u))


HULLS: dict[str, Shape] = {"raft": _raft, "tug": _tug, "ferry": _ferry, "barge": _barge}
# BGR
_HULL_COLOURS = np.array(
    [[40, 40, 45], [50, 45, 130], [110, 60, 35], [225, 225, 225], [90, 95, 95]]
)
_DECK_COLOURS = np.array(
    [
        [150, 150, 150],
        [80, 115, 160],
        [90, 130, 90],
        [60, 75, 140],
        [215, 215, 210],
        [120, 165, 190],
    ]
)


@dataclass
class Canvas:
    """The image under construction and how much of each pixel is hidden by clouds and beams.

    Attributes:
        image: (S, S, 3) float32 BGR, 0 to 255.
        hidden: (S, S) float32, 0 to 1.
    """

    image: np.ndarray
    hidden: np.ndarray


class Patch:
    """The pixels around a rotated rectangle, each sampled ``SAMPLES`` x ``SAMPLES`` times.

    Args:
        rect: The rectangle.
        size: Side of the image; the patch may reach beyond it.

    Attributes:
        u: (h, w, SAMPLES^2) place along the rectangle's length, -1 to 1 inside it.
        v: Likewise across.
    """

    def __init__(self, rect: Rect, size: int) -> None:
        corners = rect.corners(margin=1)
        self.low = np.floor(corners.min(axis=0)).astype(int)
        high = np.ceil(corners.max(axis=0)).astype(int)
        step = (np.arange(SAMPLES) + 0.5) / SAMPLES
        x = np.arange(self.low[0], high[0])[None, :, None, None] + step[None, None, None, :]
        y = np.arange(self.low[1], high[1])[:, None, None, None] + step[None, None, :, None]
        x, y = x - rect.x, y - rect.y
        cos, sin = math.cos(rect.angle), math.sin(rect.angle)
        shape = (high[1] - self.low[1], high[0] - self.low[0], SAMPLES**2)
        self.u = ((x * cos + y * sin) * (2 / rect.length)).reshape(shape)
        self.v = ((y * cos - x * sin) * (2 / rect.width)).reshape(shape)
        start, stop = np.clip(self.low, 0, size), np.clip(high, 0, size)
        self.outer = tuple(slice(a, b) for a, b in zip(start[::-1], stop[::-1], strict=True))
        self.inner = tuple(
            slice(a - low, b - low)
            for a, b, low in zip(start[::-1], stop[::-1], self.low[::-1], strict=True)
        )

    def blend(self, canvas: Canvas, coverage: np.ndarray, colour: np.ndarray) -> None:
        """Lay a colour over the image.

        Args:
            canvas: The image.
            coverage: (h, w, SAMPLES^2) opacity of each sample, 0 to 1.
            colour: BGR, broadcastable to (h, w, SAMPLES^2, 3).
        """
        paint = (coverage[..., None] * colour).mean(axis=2)[self.inner]
        under = canvas.image[self.outer]
        under[:] = under * (1 - coverage.mean(axis=2)[self.inner][..., None]) + paint


def _noise(rng: np.random.Generator, size: int, cells: tuple[int, int]) -> np.ndarray:
    """Return (size, size) smooth noise about 0, made from ``cells`` independent values."""
    coarse = rng.standard_normal(cells, dtype=np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def _water(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return (size, size, 3) water: swell and ripples between two tints."""
    deep = np.array([90, 70, 40]) + rng.uniform(-30, 30, 3)
    light = deep + rng.uniform(15, 45) + rng.uniform(-10, 10, 3)
    blend, share = np.zeros((size, size), np.float32), size // 256
    for cells, strength in (((3, 5), 0.5), ((10, 16), 0.3), ((24, 60), 0.25), ((90, 128), 0.2)):
        grid = cells if rng.random() < 0.5 else cells[::-1]
        blend += strength * _noise(rng, size, (grid[0] * share, grid[1] * share))
    return deep + (light - deep) * (0.5 + 0.6 * blend[..., None])


def _photograph(rng: np.random.Generator, size: int, photos: list[np.ndarray]) -> np.ndarray:
    """Return a (size, size, 3) piece of one of the photographs, turned, scaled and tinted."""
    photo = photos[rng.integers(len(photos))]
    side = int(rng.uniform(0.45, 1.0) * min(photo.shape[:2]))
    top, left = (int(rng.integers(n - side + 1)) for n in photo.shape[:2])
    piece = np.rot90(photo[top : top + side, left : left + side], int(rng.integers(4)))
    piece = cv2.resize(np.ascontiguousarray(piece), (size, size), interpolation=cv2.INTER_AREA)
    tint = rng.uniform(0.75, 1.1, 3)
    contrast = rng.uniform(0.45, 0.9)
    mean = piece.mean()
    return (mean + (piece - mean) * contrast) * tint


def _backdrop(rng: np.random.Generator, scene: Scene, photos: list[np.ndarray]) -> np.ndarray:
    """Return the (S, S, 3) float32 background, with the quay's land where there is one."""
    size = scene.size
    land = _photograph(rng, size, photos)
    if scene.backdrop == "land" and scene.quay is None:
        return land.astype(np.float32)
    image = _water(rng, size)
    if scene.quay is not None:
        x, y, angle = scene.quay
        rows, columns = np.mgrid[:size, :size] + 0.5
        depth = (rows - y) * math.cos(angle) - (columns - x) * math.sin(angle)
        share = np.clip(0.5 - depth, 0, 1)[..., None]
        kerb = np.clip(1.5 - abs(depth + 2), 0, 1)[..., None]
        image = image * (1 - share) + land * share
        image = image * (1 - kerb) + kerb * rng.uniform(110, 200)
    return image.astype(np.float32)


def _fittings(kind: str, rng: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """Return what stands on deck as u-low, u-high, v-low, v-high."""
    if kind == "raft":
        u, v = rng.uniform(-0.75, 0.0, 2)
        return [(u, u + rng.uniform(0.4, 0.7), v, v + rng.uniform(0.4, 0.7))]
    if kind == "tug":
        return [(-0.25, 0.3, -0.6, 0.6), (-0.1, 0.2, -0.35, 0.35), (-0.85, -0.7, -0.2, 0.2)]
    if kind == "ferry":
        return [(-0.6, 0.6, -0.62, 0.62), (-0.3, -0.1, -0.3, 0.3), (0.25, 0.4, -0.4, 0.4)]
    edges = np.linspace(-0.72, 0.86, int(rng.integers(4, 8)))
    hatches = [(a + 0.02, b - 0.02, -0.7, 0.7) for a, b in itertools.pairwise(edges)]
    return [*hatches, (-0.95, -0.8, -0.75, 0.75)]


def _deck(vessel: Vessel, patch: Patch, sun: np.ndarray) -> np.ndarray:
    """Return the (h, w, SAMPLES^2, 3) colours of a vessel seen from above."""
    rng, rect, u, v = np.random.default_rng(vessel.looks), vessel.rect, patch.u, patch.v
    hull = _HULL_COLOURS[rng.integers(len(_HULL_COLOURS))] + rng.normal(0, 12, 3)
    deck = _DECK_COLOURS[rng.integers(len(_DECK_COLOURS))] + rng.normal(0, 12, 3)
    rim = 1.3
    inner = HULLS[vessel.kind](u / (1 - 2 * rim / rect.length), v / (1 - 2 * rim / rect.width))
    colour = np.where(inner[..., None], deck, hull)
    if vessel.kind == "raft":
        planks = 1 + 0.12 * np.sign(np.sin(v * math.pi * rng.uniform(2, 4)))
        colour = colour * planks[..., None]
    for u_low, u_high, v_low, v_high in _fittings(vessel.kind, rng):
        shade = _DECK_COLOURS[rng.integers(len(_DECK_COLOURS))] * rng.uniform(0.5, 1.15)
        here = (u > u_low) & (u < u_high) & (v > v_low) & (v < v_high)
        colour[here] = shade
    # The side towards the sun is brighter.
    across = -math.sin(rect.angle) * sun[0] + math.cos(rect.angle) * sun[1]
    return colour * (1 - 0.15 * across * v[..., None])


def _paint_wake(vessel: Vessel, canvas: Canvas) -> None:
    """Draw the foam astern."""
    rect, length = vessel.rect, vessel.wake
    back = (rect.length + length) / 2 - 2
    x, y = rect.x - back * math.cos(rect.angle), rect.y - back * math.sin(rect.angle)
    foam = Rect(x, y, length, 1.3 * rect.width, rect.angle)
    _paint_foam(foam, vessel.looks + 1, canvas)


def _paint_foam(rect: Rect, seed: int, canvas: Canvas) -> None:
    rng, patch = np.random.default_rng(seed), Patch(rect, canvas.image.shape[0])
    speckle = rng.uniform(0.2, 1.0, patch.u.shape[:2])[..., None]
    fade = np.clip((patch.u + 1) / 2, 0, 1) * rng.uniform(0.5, 0.9)
    patch.blend(canvas, _wake(patch.u, patch.v) * fade * speckle, np.full(3, 225.0))


def _paint_vessel(vessel: Vessel, canvas: Canvas, sun: np.ndarray) -> tuple[Patch, np.ndarray]:
    """Draw the shadow and the vessel; return its patch and (h, w) the pixels' covered shares."""
    size, rect = canvas.image.shape[0], vessel.rect
    shift = sun * (1 + 0.12 * rect.width)
    shadow = Patch(replace(rect, x=rect.x - shift[0], y=rect.y - shift[1]), size)
    shadow.blend(canvas, 0.45 * HULLS[vessel.kind](shadow.u, shadow.v), np.full(3, 15.0))
    patch = Patch(rect, size)
    coverage = HULLS[vessel.kind](patch.u, patch.v) * 1.0
    patch.blend(canvas, coverage, _deck(vessel, patch, sun))
    return patch, coverage.mean(axis=2)


def _paint_distractor(kind: str, rect: Rect, seed: int, canvas: Canvas) -> None:
    """Draw something that is not to be detected."""
    if kind == "wake":
        _paint_foam(rect, seed, canvas)
        return
    rng, patch = np.random.default_rng(seed), Patch(rect, canvas.image.shape[0])
    if kind == "jetty":
        inside, colour = _rectangle(patch.u, patch.v), rng.uniform(90, 170) + rng.normal(0, 8, 3)
    elif kind == "buoy":
        inside, colour = _disc(patch.u, patch.v), rng.uniform(30, 240, 3)
    else:  # a rock: a disc whose radius changes as one goes round
        turn = np.arctan2(patch.v, patch.u)[..., None]
        waves = rng.uniform(0.03, 0.12, 3) * np.sin(turn * [2, 3, 5] + rng.uniform(0, 6, 3))
        inside = patch.u**2 + patch.v**2 <= (0.75 + waves.sum(axis=-1)) ** 2
        colour = rng.uniform(50, 130) + rng.normal(0, 8, 3)
    grain = rng.normal(1, 0.12, patch.u.shape[:2])[..., None, None]
    patch.blend(canvas, inside * 1.0, colour * grain)


def _paint_occluder(kind: str, rect: Rect, canvas: Canvas) -> None:
    """Draw a cloud or a crane's beam, and note what it hides."""
    patch = Patch(rect, canvas.image.shape[0])
    if kind == "cloud":
        distance = patch.u**2 + patch.v**2
        alpha, colour = np.clip(1.6 * (1 - distance), 0, 0.97), np.full(3, 232.0)
    else:
        alpha, colour = _rectangle(patch.u, patch.v) * 1.0, np.array([30.0, 140, 210])
    patch.blend(canvas, alpha, colour)
    hidden = canvas.hidden[patch.outer]
    hidden[:] = 1 - (1 - hidden) * (1 - alpha.mean(axis=2)[patch.inner])


def _visible_share(patch: Patch, coverage: np.ndarray, canvas: Canvas) -> float:
    """Return the share of a vessel's area that is inside the image and not hidden."""
    seen = coverage[patch.inner] * (1 - canvas.hidden[patch.outer])
    return float(seen.sum() / coverage.sum())


def paint(scene: Scene, photos: list[np.ndarray]) -> tuple[np.ndarray, list[float]]:
    """Draw a scene.

    Args:
        scene: What is where.
        photos: (H, W, 3) uint8 BGR photographs that land is cut out of.

    Returns:
        The (S, S, 3) uint8 BGR image, and for each vessel the share of its area that can be seen.
    """
    rng = np.random.default_rng(scene.looks)
    image = _backdrop(rng, scene, photos)
    canvas = Canvas(image, np.zeros(image.shape[:2], np.float32))
    direction = rng.uniform(-math.pi, math.pi)
    sun = np.array([math.cos(direction), math.sin(direction)])
    for distractor in scene.distractors:
        _paint_distractor(*distractor, canvas)
    for vessel in scene.vessels:
        if vessel.wake > 0:
            _paint_wake(vessel, canvas)
    drawn = [_paint_vessel(vessel, canvas, sun) for vessel in scene.vessels]
    for occluder in scene.occluders:
        _paint_occluder(*occluder, canvas)
    shares = [_visible_share(patch, coverage, canvas) for patch, coverage in drawn]
    # A camera: a little out of focus, its own exposure, noise.
    seen = cv2.GaussianBlur(canvas.image, (0, 0), rng.uniform(0.3, 0.8))
    seen = seen * rng.uniform(0.75, 1.2) + rng.normal(0, rng.uniform(2, 6), seen.shape)
    return np.clip(np.round(seen), 0, 255).astype(np.uint8), shares
