"""Drawing the streets of :mod:`mmext.embedded.street_layout` with the looks of a domain."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from .street_layout import (
    BUILDING,
    CAR,
    FAR,
    LANE,
    PERSON,
    POLE,
    ROAD,
    SIDEWALK,
    SKY,
    VEGETATION,
    Face,
    Street,
)
from .street_looks import Looks, Texture

SAMPLES = 2
"""Samples per pixel and axis that edges are smoothed with."""
TEXTURE = 256
"""Side of textures in pixels."""
# Surfaces without a face, in the order of their numbers; faces have the numbers after these.
_GROUND = (
    ("sky", SKY),
    ("road", ROAD),
    ("sidewalk", SIDEWALK),
    ("verge", VEGETATION),
    ("lane", LANE),
)
_SHIFT = 4


@dataclass
class _Maps:
    """What is seen at each sample.

    Attributes:
        surface: Number of the surface.
        u: Place along the surface in metres.
        v: Place across or up in metres.
        depth: Distance in metres.
    """

    surface: np.ndarray
    u: np.ndarray
    v: np.ndarray
    depth: np.ndarray


def surface_name(face: Face) -> str:
    """Return whose colours and texture a face has."""
    if face.part in ("window", "dark", "skin", "lamp", "leaves", "trunk", "wall"):
        return face.part
    return {PERSON: "person", CAR: "car", POLE: "pole", BUILDING: "wall"}[face.label]


def _trace(street: Street, width: int, height: int) -> _Maps:
    """Find out what each sample of a (height, width) image sees."""
    camera = street.camera
    across = (np.arange(width, dtype=np.float32) + 0.5) / width - camera.centre
    # Downwards, per metre of distance and focal length.
    slope = (np.arange(height, dtype=np.float32) + 0.5 - height * camera.horizon) / width
    below = slope > 1e-4
    ahead = np.where(below, camera.focal * camera.height / np.maximum(slope, 1e-4), 4 * FAR)
    ahead = np.minimum(ahead, 4 * FAR)
    x = across * ahead[:, None] / camera.focal

    # Beyond the sidewalks 3, on them 2, on the road 1; the sky 0.
    surface = np.full(x.shape, 3, np.int32)
    for margin in (street.sidewalk, 0.0):
        surface -= (x > street.left - margin) & (x < street.right + margin)
    surface[~below] = 0
    _draw_polygons(surface, street)

    depth = ahead[:, None].repeat(width, axis=1)
    u = np.where(surface == 0, across * 10, x)
    v = np.where(below, ahead, slope * 10)[:, None].repeat(width, axis=1)
    seen = np.flatnonzero(surface >= len(_GROUND))
    face = surface.ravel().take(seen) - len(_GROUND)
    row, column = np.divmod(seen, width)
    first = np.array([face.points[0] for face in street.faces], np.float32).reshape(-1, 3)
    sideways = np.array([face.plane == "side" for face in street.faces], bool).take(face)
    # On a plane x = const the column tells the distance, on one z = const it is the plane's.
    safe = np.where(abs(across) < 1e-3, 1e-3, across).take(column)
    along = np.clip(first[:, 0].take(face) * camera.focal / safe, 0.5, 4 * FAR)
    distance = np.where(sideways, along, first[:, 2].take(face))
    depth.ravel()[seen] = distance
    u.ravel()[seen] = np.where(sideways, distance, across.take(column) * distance / camera.focal)
    v.ravel()[seen] = camera.height - slope.take(row) * distance / camera.focal
    return _Maps(surface, *(part.astype(np.float32, copy=False) for part in (u, v, depth)))


def _draw_polygons(surface: np.ndarray, street: Street) -> None:
    """Write the numbers of markings and faces where they are seen, the nearest last."""
    marks = np.array(street.marks, np.float64).reshape(-1, 2)
    points = [np.insert(marks, 1, 0.0, axis=1), *(face.points for face in street.faces)]
    lengths = [4] * len(street.marks) + [len(face.points) for face in street.faces]
    numbers = [4] * len(street.marks) + list(range(len(_GROUND), len(_GROUND) + len(street.faces)))
    height, width = surface.shape
    # OpenCV counts from the middle of the first pixel, not from its edge.
    corners = street.camera.project(np.concatenate(points), width, height) - 0.5
    corners = np.clip(np.round(corners * 2**_SHIFT), -(2**25), 2**25).astype(np.int32)
    end = 0
    for number, length in zip(numbers, lengths, strict=True):
        begin, end = end, end + length
        cv2.fillPoly(surface, [corners[begin:end]], number, shift=_SHIFT)


def _uniform(numbers: np.ndarray, salt: int) -> np.ndarray:
    """Return a number in [0, 1) for each integer, always the same."""
    mixed = (numbers.astype(np.uint64) + np.uint64(salt)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(31)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return ((mixed >> np.uint64(40)).astype(np.float64) / 2**24).astype(np.float32)


def _texture(texture: Texture, photo: np.ndarray, maps: _Maps, chosen: np.ndarray) -> np.ndarray:
    """Return (N, 3) factors about 1 at the chosen samples."""
    scale = TEXTURE / texture.metres
    # TEXTURE is a power of two: this is the remainder, also of negative places.
    place = [
        (part.ravel().take(chosen) * scale).astype(np.int32) & (TEXTURE - 1)
        for part in (maps.v, maps.u)
    ]
    value = photo.reshape(-1, 3).take(place[0] * TEXTURE + place[1], axis=0)
    return 1 + texture.contrast * (value - 1)


def _windows(street: Street, maps: _Maps, walls: np.ndarray, looks: Looks) -> np.ndarray:
    """Return for each chosen sample the brightness of a window there, 0 where there is none."""
    face = maps.surface.ravel()[walls] - len(_GROUND)
    numbers = np.array([face.looks for face in street.faces], np.int64)
    across = maps.u.ravel()[walls] / (2.2 + 1.6 * _uniform(numbers, 11))[face]
    up = maps.v.ravel()[walls] / 3.0
    column, floor = np.floor(across), np.floor(up)
    inside = (abs(across - column - 0.525) < 0.225) & (abs(up - floor - 0.575) < 0.225)
    cell = column.astype(np.int64) * 31 + floor.astype(np.int64) * 17
    chance = _uniform(np.abs(cell + numbers[face]), 13)
    bright = 4.5 * (chance < 0.25) + 0.5 if looks.night else 0.7 + 0.5 * chance
    return np.where(inside, bright, 0.0)


def _surfaces(street: Street, looks: Looks) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) kinds, places in ``_NAMES``, and (N, 3) even colours of the surfaces.

    The sky's is white.
    """
    names = [name for name, _ in _GROUND] + [surface_name(face) for face in street.faces]
    kinds = np.array([_NAMES.index(name) for name in names], np.uint8)
    numbers = np.array(
        [street.looks + i for i in range(len(_GROUND))] + [face.looks for face in street.faces]
    )
    pick, shade = _uniform(numbers, 1), 1 + looks.spread * (2 * _uniform(numbers, 2) - 1)
    side = np.array([False] * len(_GROUND) + [face.plane == "side" for face in street.faces])
    shade = shade * np.where(side, 1 - looks.sun, 1.0)
    choices = [looks.colours.get(name, ((1.0, 1.0, 1.0),)) for name in _NAMES]
    counts = np.array([len(colours) for colours in choices])
    begins = np.cumsum(counts) - counts
    every = np.array([colour for colours in choices for colour in colours], np.float32)
    base = every[begins[kinds] + (pick * counts[kinds]).astype(int)]
    base[1:] *= shade[1:, None]
    return kinds, base


def _colours(street: Street, maps: _Maps, looks: Looks, photos: Mapping) -> np.ndarray:
    """Return the (H, W, 3) float32 colours under even light, before weather and camera."""
    kinds, base = _surfaces(street, looks)
    surface = maps.surface.ravel()
    flat = base.take(surface, axis=0)
    kind = kinds.take(surface)

    def samples(name: str) -> np.ndarray:
        return np.flatnonzero(kind == _NAMES.index(name))

    height, width = maps.surface.shape
    top, bottom = (np.array(colour, np.float32) for colour in looks.sky)
    share = (np.arange(height, dtype=np.float32) / (height * street.camera.horizon)).clip(0, 1)
    sky = samples("sky")
    flat[sky] = (top + (bottom - top) * share[:, None])[sky // width]
    for name, texture in looks.textures.items():
        chosen = samples(name)
        flat[chosen] *= _texture(texture, photos[texture.photo], maps, chosen)
    walls = samples("wall")
    bright = _windows(street, maps, walls, looks)
    glazed = bright > 0
    glass = np.array(looks.colours["window"][0], np.float32)
    flat[walls[glazed]] = glass * bright[glazed, None]
    if looks.night:
        flat[samples("lamp")] *= 6.0
    return flat.reshape(height, width, 3)


_NAMES = (
    *("sky", "road", "sidewalk", "verge", "lane", "wall", "window", "leaves", "trunk"),
    *("person", "skin", "dark", "car", "lamp", "pole"),
)


def _headlights(maps: _Maps, width: int) -> np.ndarray:
    """Return the (H, W, 1) factor of the own headlights: a cone that fades with the distance."""
    columns = (np.arange(width, dtype=np.float32) + 0.5) / width - 0.5
    cone = np.exp(-((columns / 0.3) ** 2))[None, :]
    near = np.exp(-maps.depth / 18.0) * (maps.surface > 0)
    return (1 + 3.0 * cone * near)[..., None]


def paint(
    street: Street,
    looks: Looks,
    photos: Mapping[str, np.ndarray],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a street.

    Args:
        street: What is where.
        looks: The looks of the domain.
        photos: Of :func:`as_texture`, by file name.
        size: Height and width of the image.
        rng: Decides exposure and noise.

    Returns:
        The (H, W, 3) uint8 BGR image and the (H, W) uint8 labels. The label of a pixel is what is
        seen at its middle.
    """
    height, width = size
    maps = _trace(street, SAMPLES * width, SAMPLES * height)
    image = _colours(street, maps, looks, photos)
    image *= np.array(looks.light, np.float32)
    if looks.night:
        image *= _headlights(maps, image.shape[1])
    density, colour = looks.fog
    if density:
        seen = np.exp(-density * maps.depth)[..., None]
        image *= seen
        image += np.array(colour, np.float32) * (1 - seen)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    image *= rng.uniform(*looks.exposure)
    if looks.blur:
        image = cv2.GaussianBlur(image, (0, 0), looks.blur)
    if looks.noise:
        image += looks.noise * rng.standard_normal(image.shape, dtype=np.float32)
    labels = np.array(
        [label for _, label in _GROUND] + [face.label for face in street.faces], np.uint8
    )
    middle = maps.surface[SAMPLES // 2 :: SAMPLES, SAMPLES // 2 :: SAMPLES]
    return np.clip(np.round(image), 0, 255).astype(np.uint8), labels[middle]


def as_texture(photo: np.ndarray) -> np.ndarray:
    """Return a photograph as factors about 1.

    Args:
        photo: (H, W, 3) uint8.

    Returns:
        (TEXTURE, TEXTURE, 3) float32 of mean 1 in each channel, between 0 and 3.
    """
    side = (TEXTURE, TEXTURE)
    values = cv2.resize(photo, side, interpolation=cv2.INTER_AREA).astype(np.float32)
    return (values / values.mean(axis=(0, 1))).clip(0, 3)
