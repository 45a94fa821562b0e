"""What stands where in a rendered street: geometry without any colour.

Lengths are in metres: x to the right and y up from a point on the ground below the camera, z
straight ahead. An image of W x H pixels shows the point at ``(W/2 + W·(f·x/z + shift), ...)``, see
:class:`Camera`.
"""

import math
from dataclasses import dataclass, field

import numpy as np

CLASSES = (
    "road",
    "lane",
    "sidewalk",
    "building",
    "vegetation",
    "sky",
    "person",
    "car",
    "pole",
)
ROAD, LANE, SIDEWALK, BUILDING, VEGETATION, SKY, PERSON, CAR, POLE = range(len(CLASSES))
_CIRCLE = np.array([(math.cos(a), math.sin(a), 0) for a in np.arange(16) * math.pi / 8])
FAR = 90.0
"""Distance of the backdrop."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above the road.

    Attributes:
        height: Height above the ground.
        focal: Focal length in image widths.
        horizon: Row of the horizon, as a share of the image height.
        centre: Column of the vanishing point, as a share of the image width.
    """

    height: float
    focal: float
    horizon: float
    centre: float

    def project(self, points: np.ndarray, width: int, height: int) -> np.ndarray:
        """Return (N, 2) columns and rows, in pixels, of (N, 3) points with z > 0."""
        x, y, z = points.T
        column = width * (self.centre + self.focal * x / z)
        row = height * self.horizon + width * self.focal * (self.height - y) / z
        return np.stack((column, row), axis=1)


@dataclass(frozen=True)
class Face:
    """A flat polygon of one class.

    Attributes:
        label: Index of its class.
        points: (N, 3) corners, one of the nearest first.
        plane: ``'front'``, faces the camera (z is the same everywhere); ``'side'``, faces the
            street (x is the same everywhere).
        part: What of the object it is, which decides its looks: ``'wall'``, ``'body'``,
            ``'window'``, ``'dark'``, ``'skin'``, ``'lamp'``, ``'leaves'``, ``'trunk'``.
        looks: Number that decides everything random about its looks; the parts of an object share
            it.
    """

    label: int
    points: np.ndarray
    plane: str
    part: str
    looks: int


@dataclass(frozen=True)
class Street:
    """A street seen by a camera.

    Attributes:
        camera: The camera.
        left: Left edge of the road.
        right: Right edge of the road.
        sidewalk: Width of the sidewalks.
        marks: Corners, (N, 2) as x and z, of the markings on the road.
        faces: What stands on the ground, the farthest first.
        looks: Number that decides everything random about the looks of ground and sky.
    """

    camera: Camera
    left: float
    right: float
    sidewalk: float
    marks: list[np.ndarray]
    faces: list[Face] = field(default_factory=list)
    looks: int = 0


def _rectangle(
    label: int, x: float, y: float, z: float, size: tuple[float, float], part: str, looks: int
) -> Face:
    """Return a face towards the camera, ``size`` wide and high, standing on height y."""
    half, top = size[0] / 2, y + size[1]
    points = np.array([[x - half, y, z], [x + half, y, z], [x + half, top, z], [x - half, top, z]])
    return Face(label, points, "front", part, looks)


def _ellipse(
    label: int, x: float, y: float, z: float, size: tuple[float, float], part: str, looks: int
) -> Face:
    """Return an ellipse towards the camera, ``size`` wide and high, around height y."""
    points = np.array((x, y, z)) + _CIRCLE * np.array((size[0] / 2, size[1] / 2, 0))
    return Face(label, points, "front", part, looks)


def _building(x: float, z: tuple[float, float], height: float, looks: int) -> list[Face]:
    """Return the wall along the street and the wall towards the camera of a building."""
    near, far = z
    side = np.array([[x, 0, near], [x, 0, far], [x, height, far], [x, height, near]])
    width = math.copysign(14.0, x)
    front = _rectangle(BUILDING, x + width / 2, 0, near, (abs(width), height), "wall", looks)
    return [Face(BUILDING, side, "side", "wall", looks), front]


def _tree(rng: np.random.Generator, x: float, z: float, looks: int) -> list[Face]:
    trunk, crown = rng.uniform(1.6, 2.8), rng.uniform(2.2, 4.2)
    faces = [_rectangle(VEGETATION, x, 0, z, (rng.uniform(0.2, 0.4), trunk), "trunk", looks)]
    for _ in range(3):
        side, up = rng.uniform(-0.35, 0.35) * crown, rng.uniform(0.2, 0.6) * crown
        size = (crown * rng.uniform(0.6, 1.0), crown * rng.uniform(0.7, 1.1))
        faces.append(_ellipse(VEGETATION, x + side, trunk + up, z, size, "leaves", looks))
    return faces


def _person(rng: np.random.Generator, x: float, z: float, looks: int) -> list[Face]:
    height = rng.uniform(1.5, 1.9)
    width = rng.uniform(0.42, 0.6)
    legs, head = 0.47 * height, 0.14 * height
    return [
        _rectangle(PERSON, x, 0, z, (width * 0.7, legs), "dark", looks),
        _ellipse(PERSON, x, 0.65 * height, z, (width, 0.46 * height), "body", looks),
        _ellipse(PERSON, x, height - head / 2, z, (0.8 * head, head), "skin", looks),
    ]


def _car(rng: np.random.Generator, x: float, z: float, looks: int) -> list[Face]:
    """Return a car seen from behind or in front, with the flank that the camera sees."""
    width, low, length = rng.uniform(1.6, 1.95), rng.uniform(0.75, 0.95), rng.uniform(3.4, 4.8)
    cabin = rng.uniform(0.5, 0.85)
    flank = x - math.copysign(width / 2, x)
    side = np.array([[flank, 0.2, z], [flank, 0.2, z + length]])
    side = np.concatenate((side, side[::-1] + np.array([0, low - 0.2 + 0.5 * cabin, 0])))
    faces = [Face(CAR, side, "side", "body", looks)]
    faces.append(_rectangle(CAR, x, low, z + 0.3, (0.8 * width, cabin), "body", looks))
    faces.append(
        _rectangle(CAR, x, low + 0.06, z + 0.29, (0.7 * width, 0.7 * cabin), "window", looks)
    )
    faces.append(_rectangle(CAR, x, 0.22, z, (width, low - 0.2), "body", looks))
    for sign in (-1, 1):
        wheel = x + sign * 0.38 * width
        faces.append(_rectangle(CAR, wheel, 0, z, (0.24, 0.32), "dark", looks))
        lamp = x + sign * 0.4 * width
        faces.append(_rectangle(CAR, lamp, 0.65 * low, z - 0.01, (0.22, 0.12), "lamp", looks))
    return faces


def _pole(rng: np.random.Generator, x: float, z: float, looks: int) -> list[Face]:
    height = rng.uniform(3.5, 7.0)
    faces = [_rectangle(POLE, x, 0, z, (rng.uniform(0.14, 0.24), height), "body", looks)]
    if rng.random() < 0.5:  # an arm over the road
        arm = -math.copysign(rng.uniform(0.8, 1.6), x)
        faces.append(
            _rectangle(POLE, x + arm / 2, height - 0.15, z, (abs(arm), 0.16), "body", looks)
        )
    return faces


def _beyond(rng: np.random.Generator, edge: float) -> list[list[Face]]:
    """Return what stands beyond the sidewalk of one side, each object a list of faces.

    Args:
        rng: Source of everything random.
        edge: Where the sidewalk ends, negative on the left.
    """
    sign = math.copysign(1.0, edge)
    objects, z = [], rng.uniform(4, 10)
    while z < FAR - 10:
        length = rng.uniform(8, 20)
        if rng.random() < 0.72:
            setback = edge + sign * rng.uniform(0, 1.5)
            objects.append(_building(setback, (z, z + length), rng.uniform(5, 18), _looks(rng)))
        else:
            for _ in range(int(rng.integers(1, 4))):
                place = edge + sign * rng.uniform(1, 6), z + rng.uniform(0, length)
                objects.append(_tree(rng, *place, _looks(rng)))
        z += length + rng.uniform(0, 5)
    return objects


def _on_sidewalk(rng: np.random.Generator, edge: float, crowd: float) -> list[list[Face]]:
    """Return what stands on the sidewalk of one side, each object a list of faces.

    Args:
        rng: Source of everything random.
        edge: Where the sidewalk ends, negative on the left.
        crowd: How much stands there, about 1.
    """
    sign = math.copysign(1.0, edge)
    objects = []
    for make, mean, reach in ((_tree, 1.5, 0.6), (_pole, 3.0, 1.6), (_person, 2.6, 1.5)):
        for _ in range(rng.poisson(mean * crowd)):
            # Evenly over the image rather than over the ground, or all would be far and tiny.
            distance = 1 / rng.uniform(1 / 45, 1 / 5)
            x = edge - sign * rng.uniform(0.2, reach)
            objects.append(make(rng, x, distance, _looks(rng)))
    return objects


def _markings(rng: np.random.Generator, left: float, right: float) -> list[np.ndarray]:
    """Return the markings on the road as (4, 2) corners x and z."""
    marks, width, middle = [], rng.uniform(0.16, 0.26), (left + right) / 2
    dash, gap = rng.uniform(2, 4), rng.uniform(2, 5)
    for start in np.arange(rng.uniform(0.5, 3), FAR, dash + gap):
        marks.append(_mark(middle, width, start, start + dash))
    if rng.random() < 0.7:
        for x in (left + 0.35, right - 0.35):
            marks.append(_mark(x, width, 0.5, FAR))
    if rng.random() < 0.35:  # a crossing
        near = rng.uniform(6, 18)
        for x in np.arange(left + 0.7, right - 0.5, 1.1):
            marks.append(_mark(x, 0.55, near, near + 2.6))
    return marks


def _mark(x: float, width: float, near: float, far: float) -> np.ndarray:
    half = width / 2
    return np.array([[x - half, near], [x + half, near], [x + half, far], [x - half, far]])


def _looks(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _order(faces: list[Face]) -> float:
    """Return what objects are sorted by to be drawn from the farthest on."""
    return -min(face.points[0, 2] for face in faces)


def _backdrop(rng: np.random.Generator) -> list[list[Face]]:
    """Return what closes the street at its end."""
    objects = []
    for x in np.arange(-120, 120, 12.0):
        if rng.random() < 0.5:
            size = (rng.uniform(8, 14), rng.uniform(4, 14))
            objects.append([_rectangle(BUILDING, x, 0, FAR, size, "wall", _looks(rng))])
        elif rng.random() < 0.7:
            size = (rng.uniform(10, 16), rng.uniform(8, 16))
            objects.append([_ellipse(VEGETATION, x, 2, FAR, size, "leaves", _looks(rng))])
    return objects


def lay_out(seed: tuple[int, ...], pitch: float = 0.0, crowd: float = 1.0) -> Street:
    """Return a random street.

    Args:
        seed: Decides everything.
        pitch: Moves the horizon, in image heights.
        crowd: How many people, poles and cars there are, 1 on average.
    """
    rng = np.random.default_rng(seed)
    camera = Camera(
        height=rng.uniform(1.3, 1.8),
        focal=rng.uniform(0.55, 0.7),
        horizon=rng.uniform(0.38, 0.48) + pitch,
        centre=rng.uniform(0.4, 0.6),
    )
    half, shift = rng.uniform(3.2, 5.0), rng.uniform(-1.2, 1.2)
    left, right, sidewalk = shift - half, shift + half, rng.uniform(1.6, 3.0)
    edges = (left - sidewalk, right + sidewalk)
    behind = _backdrop(rng) + [thing for edge in edges for thing in _beyond(rng, edge)]
    street = [thing for edge in edges for thing in _on_sidewalk(rng, edge, crowd)]
    for _ in range(rng.poisson(2.2 * crowd)):
        lane = rng.choice([left + 0.28 * 2 * half, right - 0.28 * 2 * half])
        distance = 1 / rng.uniform(1 / 50, 1 / 6)
        street.append(_car(rng, lane + rng.uniform(-0.4, 0.4), distance, _looks(rng)))
    if rng.random() < 0.3:  # someone crosses
        place = rng.uniform(left, right), 1 / rng.uniform(1 / 30, 1 / 6)
        street.append(_person(rng, *place, _looks(rng)))
    # Walls along the street never hide what is between them, however long they are: what is
    # beyond the sidewalks is drawn first.
    ordered = [thing for part in (behind, street) for thing in sorted(part, key=_order)]
    return Street(
        camera=camera,
        left=left,
        right=right,
        sidewalk=sidewalk,
        marks=_markings(rng, left, right),
        faces=[face for thing in ordered for face in thing],
        looks=_looks(rng),
    )
