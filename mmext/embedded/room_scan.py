"""Scanning a room of the rooms data with depth cameras that stand in it.

A camera sends a ray through each of its pixels and sees the first surface there, so what stands in
front hides what is behind. Noise grows with the square of the distance, as with structured light;
pixels are missing at random, in blots, and where a surface is seen at a grazing angle.
"""

import math
from dataclasses import dataclass

import numpy as np

from .room_furniture import Range
from .room_layout import Item, Room

_NEVER = 1e9


@dataclass(frozen=True)
class Sensor:
    """How a room is scanned.

    Attributes:
        cameras: Least and largest number of cameras.
        height: Their height above the floor in metres.
        pixels: Columns and rows.
        view: Horizontal angle of view in degrees.
        noise: Standard deviation of the depth at one metre, in metres.
        missing: Share of the pixels that are missing at random.
        blots: How many blots a camera misses, on average.
        cell: Side of the cells of a grid, each of which keeps one point at most, in metres: what
            is near to a camera has no more points than what is far away.
        points: Most points of a scan.
        share: Most of them that lie on objects; floor and walls are thinned out before objects.
    """

    cameras: tuple[int, int]
    height: Range
    pixels: tuple[int, int]
    view: Range
    noise: float
    missing: float
    blots: float
    cell: float
    points: int
    share: float


def hit_boxes(
    origin: np.ndarray, rays: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where rays enter the first of several axis-aligned boxes.

    Args:
        origin: (3,) where all rays begin.
        rays: (R, 3) directions of length 1.
        boxes: (P, 6) centres and full sizes.

    Returns:
        (R,) distance, ``1e9`` for none, and (R,) cosine of the angle to the surface's normal.
    """
    inverse = 1 / np.where(np.abs(rays) < 1e-9, 1e-9, rays)
    low = (boxes[:, :3] - boxes[:, 3:] / 2 - origin) * inverse[:, None]
    high = (boxes[:, :3] + boxes[:, 3:] / 2 - origin) * inverse[:, None]
    enter, leave = np.minimum(low, high), np.maximum(low, high).min(axis=2)
    axis, distance = enter.argmax(axis=2), enter.max(axis=2)
    distance = np.where((distance < leave) & (distance > 0), distance, _NEVER)
    first = distance.argmin(axis=1)
    rows = np.arange(len(rays))
    return distance[rows, first], np.abs(rays[rows, axis[rows, first]])


def hit_cylinders(
    origin: np.ndarray, rays: np.ndarray, cylinders: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return where rays enter the first of several upright cylinders.

    Args:
        origin: (3,) where all rays begin, outside of them.
        rays: (R, 3) directions of length 1.
        cylinders: (Q, 5) centre, radius, height.

    Returns:
        (R,) distance, ``1e9`` for none, and (R,) cosine of the angle to the surface's normal.
    """
    offset = origin - cylinders[:, :3]
    radius, half = cylinders[:, 3], cylinders[:, 4] / 2
    flat = np.maximum((rays[:, :2] ** 2).sum(axis=1), 1e-12)[:, None]
    across = rays[:, :2] @ offset[:, :2].T
    root = across**2 - flat * ((offset[:, :2] ** 2).sum(axis=1) - radius**2)
    shell = (-across - np.sqrt(np.maximum(root, 0))) / flat
    height = offset[:, 2] + shell * rays[:, 2:]
    shell = np.where((root > 0) & (shell > 0) & (np.abs(height) <= half), shell, _NEVER)
    falling = np.where(np.abs(rays[:, 2:]) < 1e-9, 1e-9, rays[:, 2:])
    lid = (-np.sign(falling) * half - offset[:, 2]) / falling
    place = offset[:, :2] + lid[..., None] * rays[:, None, :2]
    lid = np.where((lid > 0) & ((place**2).sum(axis=2) <= radius**2), lid, _NEVER)
    distance = np.minimum(shell, lid)
    first = distance.argmin(axis=1)
    rows = np.arange(len(rays))
    on_lid = lid[rows, first] <= shell[rows, first]
    normal = offset[first, :2] + distance[rows, first, None] * rays[:, :2]
    cosine = np.abs((normal * rays[:, :2]).sum(axis=1)) / radius[first]
    return distance[rows, first], np.where(on_lid, np.abs(rays[:, 2]), cosine)


def _hit_item(
    item: Item, origin: np.ndarray, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of the rays that hit an item, how far away and at which cosine."""
    depth, width, height = item.furniture.size
    towards = np.array([item.x, item.y, height / 2]) - origin
    away, radius = np.linalg.norm(towards), np.linalg.norm(item.furniture.size) / 2
    # Most rays miss even the sphere around the item, and most others the box around it.
    least = math.sqrt(max(away**2 - radius**2, 0.0)) if away > radius else -away
    rows = np.flatnonzero(rays @ towards > least)
    cos, sin = math.cos(item.yaw), math.sin(item.yaw)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    local, rays = (origin - (item.x, item.y, 0)) @ turn, rays[rows] @ turn
    hull = np.array([[0, 0, height / 2, depth, width, height]])
    near = np.flatnonzero(hit_boxes(local, rays, hull)[0] < _NEVER)
    rows, rays = rows[near], rays[near]
    distance, cosine = np.full(len(rows), _NEVER), np.ones(len(rows))
    for parts, hit in (
        (item.furniture.boxes, hit_boxes),
        (item.furniture.cylinders, hit_cylinders),
    ):
        if len(parts) and len(rows):
            found, angle = hit(local, rays, parts)
            cosine = np.where(found < distance, angle, cosine)
            distance = np.minimum(distance, found)
    return rows, distance, cosine


def _hit_walls(
    size: tuple[float, float, float], origin: np.ndarray, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return distance and cosine of floor and walls; the ceiling is not seen."""
    low = np.array([-size[0] / 2, -size[1] / 2, 0])
    high = np.array([size[0] / 2, size[1] / 2, size[2]])
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(rays > 0, (high - origin) / rays, (low - origin) / rays)
    reach = np.where(np.abs(rays) < 1e-9, _NEVER, reach)
    axis = reach.argmin(axis=1)
    rows = np.arange(len(rays))
    ceiling = (axis == 2) & (rays[:, 2] > 0)
    return np.where(ceiling, _NEVER, reach[rows, axis]), np.abs(rays[rows, axis])


def camera_rays(
    sensor: Sensor, room: Room, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Put a camera near a wall, looking through the room's middle and downwards.

    Returns:
        (3,) its place, outside of all furniture, and (R, 3) directions.
    """
    half = np.array(room.size[:2]) / 2
    while True:
        angle = rng.uniform(-math.pi, math.pi)
        x, y = 0.85 * half * np.clip(1.4 * np.array([math.cos(angle), math.sin(angle)]), -1, 1)
        origin = np.array([x, y, rng.uniform(*sensor.height)])
        tall = (item for item in room.items if item.furniture.size[2] > origin[2] - 0.2)
        if all(np.hypot(item.x - x, item.y - y) > 0.8 for item in tall):
            break
    heading = math.atan2(*(rng.uniform(-0.2, 0.2, 2) * half - (x, y))[::-1])
    pitch = -math.radians(rng.uniform(12, 30))
    columns, rows = sensor.pixels
    width = math.tan(math.radians(rng.uniform(*sensor.view)) / 2)
    u, v = np.meshgrid(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
    ahead = np.ones(u.size)
    left, up = -u.ravel() * width, -v.ravel() * width * rows / columns
    forward = math.cos(pitch) * ahead - math.sin(pitch) * up
    rays = np.stack(
        (
            math.cos(heading) * forward - math.sin(heading) * left,
            math.sin(heading) * forward + math.cos(heading) * left,
            math.sin(pitch) * ahead + math.cos(pitch) * up,
        ),
        axis=1,
    )
    return origin, rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _lost(sensor: Sensor, rng: np.random.Generator) -> np.ndarray:
    """Return (R,) bool: the pixels that a camera misses."""
    columns, rows = sensor.pixels
    lost = rng.random((rows, columns)) < sensor.missing
    v, u = np.mgrid[:rows, :columns]
    for _ in range(rng.poisson(sensor.blots)):
        place, radius = rng.uniform((0, 0), (rows, columns)), rng.uniform(0.03, 0.1, 2) * columns
        lost |= ((v - place[0]) / radius[0]) ** 2 + ((u - place[1]) / radius[1]) ** 2 < 1
    return lost.ravel()


def scan(room: Room, sensor: Sensor, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Scan a room.

    Args:
        room: The room.
        sensor: How.
        rng: Decides the cameras' places, noise and choice of points.

    Returns:
        (N, 3) points and (N,) index of each one's item, -1 for floor and walls.
    """
    clouds, owners = [], []
    for _ in range(rng.integers(sensor.cameras[0], sensor.cameras[1] + 1)):
        origin, rays = camera_rays(sensor, room, rng)
        distance, cosine = _hit_walls(room.size, origin, rays)
        owner = np.full(len(rays), -1)
        for index, item in enumerate(room.items):
            rows, reach, angle = _hit_item(item, origin, rays)
            nearer = reach < distance[rows]
            rows = rows[nearer]
            distance[rows], cosine[rows], owner[rows] = reach[nearer], angle[nearer], index
        seen = (distance < _NEVER) & (cosine > 0.08) & ~_lost(sensor, rng)
        noisy = distance + sensor.noise * distance**2 * rng.standard_normal(len(rays))
        clouds.append((origin + noisy[:, None] * rays)[seen])
        owners.append(owner[seen])
    points, owner = np.concatenate(clouds), np.concatenate(owners)
    order = rng.permutation(len(points))
    cells = np.floor(points[order] / sensor.cell).astype(np.int64) + 2**15
    keys = (cells[:, 0] << 32) + (cells[:, 1] << 16) + cells[:, 2]
    order = order[np.sort(np.unique(keys, return_index=True)[1])]
    things, rest = order[owner[order] >= 0], order[owner[order] < 0]
    things = things[: round(sensor.points * sensor.share)]
    chosen = rng.permutation(np.concatenate((things, rest))[: sensor.points])
    return points[chosen], owner[chosen]
