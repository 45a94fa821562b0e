"""Geometry of quadrilaterals for evaluation: corners, areas, overlaps, in float64 on whole arrays.

mmcv's ``box_iou_rotated`` and ``box_iou_quadri`` compute in float32 and lose the intersection of
some nearly coincident boxes (about one pair in a thousand of those comes out up to 0.67 too low),
so that a perfect detection counts as false. Here areas come from the boundary of the intersection,
edge by edge, with a rule for shared edges that leaves no such holes.
"""

from collections.abc import Iterator

import numpy as np

CHUNK = 8192
"""Pairs per block: what is computed for them stays in the cache."""
_CANDIDATES = 1 << 20
_BANDS = (64, 256, 1024)
# Edges closer than this share of the pair's size count as shared. Rounding is about 1e-15.
_SHARED = 1e-11


def to_corners(boxes: np.ndarray) -> np.ndarray:
    """Return the corners of boxes of any of the usual forms.

    Args:
        boxes: (N, 5) rboxes x, y, w, h in pixels and angle in radians, (N, 8) quadrilaterals
            x1, y1, ..., x4, y4, or (N, 4) horizontal boxes x1, y1, x2, y2.

    Returns:
        (N, 4, 2) float64 corners, in the order of the boundary.

    Raises:
        ValueError: Another last dimension.
    """
    boxes = np.asarray(boxes, dtype=np.float64)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5, 8):
        raise ValueError(
            "expected boxes of shape (N, 5) (x, y, w, h, angle), (N, 8) (four corners) or (N, 4) "
            f"(x1, y1, x2, y2), got {boxes.shape}"
        )
    if boxes.shape[1] == 8:
        return boxes.reshape(-1, 4, 2)
    if boxes.shape[1] == 4:
        return boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    cos, sin = np.cos(boxes[:, 4:]), np.sin(boxes[:, 4:])
    along = np.hstack([cos, sin]) * boxes[:, 2:3] / 2
    across = np.hstack([-sin, cos]) * boxes[:, 3:4] / 2
    centre = boxes[:, :2]
    return np.stack(
        [
            centre - along - across,
            centre + along - across,
            centre + along + across,
            centre - along + across,
        ],
        axis=1,
    )


def horizontal_boxes(corners: np.ndarray) -> np.ndarray:
    """Return the (N, 4) horizontal boxes x1, y1, x2, y2 around (N, 4, 2) corners."""
    a, b, c, d = (corners[:, i] for i in range(4))  # six times as fast as min(axis=1)
    low = np.minimum(np.minimum(a, b), np.minimum(c, d))
    return np.hstack([low, np.maximum(np.maximum(a, b), np.maximum(c, d))])


def signed_areas(corners: np.ndarray) -> np.ndarray:
    """Return the (N,) areas of (N, 4, 2) corners: positive when x turns towards y, in px^2."""
    # Around the first corner, so that far from the origin no digits are lost.
    side, diagonal, last = (corners[:, i] - corners[:, 0] for i in (1, 2, 3))
    return (_cross(side, diagonal) + _cross(diagonal, last)) / 2


def aspect_ratios(corners: np.ndarray) -> np.ndarray:
    """Return (N,) ratios >= 1 of long to short side; a side is the mean of two opposite edges.

    Args:
        corners: (N, 4, 2) corners.

    Returns:
        Infinity where the short side is 0.
    """
    edges = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    sides = (edges[:, :2] + edges[:, 2:]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = sides.max(axis=1) / sides.min(axis=1)
    return np.where(np.isnan(ratios), 1.0, ratios)


def overlapping_pairs(
    first: np.ndarray, first_group: np.ndarray, second: np.ndarray, second_group: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pairs of one group whose horizontal boxes touch or overlap.

    Args:
        first: (N, 4) boxes x1, y1, x2, y2.
        first_group: (N,) non-negative integers, such as image and class in one number.
        second: (M, 4) boxes.
        second_group: (M,) their groups.

    Returns:
        (P,) indices into ``first`` and (P,) into ``second``, ordered by the first, then the second.
    """
    if not len(first) or not len(second):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    low = min(first.min(), second.min())
    extent = max(first.max(), second.max()) - low
    # Each group gets a strip of the x axis of its own, so that one search serves all of them.
    _, group = np.unique(np.concatenate([first_group, second_group]), return_inverse=True)
    strip = group * (2 * extent + 4) - low
    first_strip, second_strip = strip[: len(first)], strip[len(first) :]
    width = second[:, 2] - second[:, 0]
    # Wide boxes apart from narrow ones: how far to look to the left depends on the widest.
    band = np.searchsorted(_BANDS, width)
    pairs = []
    for value in np.unique(band):
        members = np.flatnonzero(band == value)
        left = second[members, 0] + second_strip[members]
        order = np.argsort(left, kind="stable")
        members, left = members[order], left[order]
        reach = width[members].max() + 1e-3  # a strip may lie where float64 has few digits left
        begin = np.searchsorted(left, first[:, 0] + first_strip - reach)
        end = np.searchsorted(left, first[:, 2] + first_strip + 1e-3)
        pairs.extend(_touching(first, second, members, begin, end))
    found, other = (np.concatenate(part) for part in zip(*pairs, strict=True))
    order = np.lexsort((other, found))
    return found[order], other[order]


def _touching(
    first: np.ndarray, second: np.ndarray, members: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the pairs of i and members[begin[i]:end[i]] that touch, block by block."""
    counts = end - begin
    total = np.cumsum(counts)
    cuts = np.searchsorted(total, np.arange(_CANDIDATES, total[-1] + 1, _CANDIDATES))
    for rows in np.split(np.arange(len(first)), cuts):
        count = counts[rows]
        found = np.repeat(rows, count)
        # 0, 1, ... within each row
        position = np.arange(len(found)) - np.repeat(np.cumsum(count) - count, count)
        other = members[np.repeat(begin[rows], count) + position]
        for low, high in ((1, 3), (0, 2)):  # y first: x is nearly settled
            touch = first[found, low] <= second[other, high]
            touch &= second[other, low] <= first[found, high]
            found, other = found[touch], other[touch]
        yield found, other


def pair_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the IoU of pairs of quadrilaterals.

    Args:
        first: (P, 4, 2) corners in pixels, in either direction of rotation.
        second: (P, 4, 2) corners.

    Returns:
        (P,) IoU in [0, 1]. Quadrilaterals that are not convex or cross themselves are counted as
        DOTA's devkit does, by signed triangles. 0 where both areas are 0.
    """
    iou = np.zeros(len(first))
    for start in range(0, len(first), CHUNK):
        part = slice(start, start + CHUNK)
        # Near the origin: the corner of an object of 10 px at 20 000 px has 4 digits fewer.
        a, b = first[part] - first[part, :1], second[part] - first[part, :1]
        area_a, area_b = signed_areas(a), signed_areas(b)
        shared = _intersection(a, b, area_a, area_b)
        union = np.abs(area_a) + np.abs(area_b) - shared
        iou[part] = np.divide(shared, union, out=np.zeros(len(a)), where=union > 0)
    return iou.clip(0, 1)


def horizontal_pair_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the IoU of pairs of horizontal boxes whose corners are pixels of the box.

    Args:
        first: (P, 4, 2) corners; the horizontal boxes around them count.
        second: (P, 4, 2) corners.

    Returns:
        (P,) IoU, with widths x2 - x1 + 1 as in DOTA's devkit (and VOC's).
    """
    a, b = horizontal_boxes(first), horizontal_boxes(second)
    size = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + 1
    shared = size.clip(min=0).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) for boxes in (a, b)]
    return shared / (areas[0] + areas[1] - shared)


def intersection_areas(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the (P,) areas in px^2 that pairs of (P, 4, 2) quadrilaterals share."""
    a, b = first - first[:, :1], second - first[:, :1]
    return _intersection(a, b, signed_areas(a), signed_areas(b))


def iou_bounds(
    first: np.ndarray, second: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Return numbers that the IoU of pairs cannot exceed, at a tenth of the IoU's cost.

    The shared area is at most that of the horizontal boxes and at most the smaller of the two.

    Args:
        first: (N, 4, 2) corners.
        second: (M, 4, 2) corners.
        pairs: (P,) indices into ``first`` and (P,) into ``second``.

    Returns:
        (P,) bounds.
    """
    (a, area_a, convex_a), (b, area_b, convex_b) = (
        [
            column[rows]
            for column in (
                horizontal_boxes(corners),
                np.abs(signed_areas(corners)),
                _is_convex(corners),
            )
        ]
        for corners, rows in zip((first, second), pairs, strict=True)
    )
    width = np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0])
    height = np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1])
    shared = width.clip(min=0) * height.clip(min=0)
    shared = np.minimum(shared, np.minimum(area_a, area_b))
    union = area_a + area_b - shared
    bounds = np.divide(shared, union, out=np.zeros(len(a)), where=union > 0)
    # A shape that crosses itself has a smaller signed area than it covers.
    return np.where(convex_a & convex_b, bounds * (1 + 1e-9) + 1e-9, 1.0)


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _is_convex(corners: np.ndarray) -> np.ndarray:
    edges = corners[:, [1, 2, 3, 0]] - corners
    a, b, c, d = _cross(edges, edges[:, [1, 2, 3, 0]]).T
    left = (a >= 0) & (b >= 0) & (c >= 0) & (d >= 0)
    return left | ((a <= 0) & (b <= 0) & (c <= 0) & (d <= 0))


def _intersection(
    a: np.ndarray, b: np.ndarray, area_a: np.ndarray, area_b: np.ndarray
) -> np.ndarray:
    convex = _is_convex(a) & _is_convex(b)
    shared = np.zeros(len(a))
    shared[convex] = _convex_intersection(
        _oriented(a[convex], area_a[convex]), _oriented(b[convex], area_b[convex])
    )
    if not convex.all():
        parts_a, sign_a = _triangles(a[~convex], area_a[~convex])
        parts_b, sign_b = _triangles(b[~convex], area_b[~convex])
        shared[~convex] = sum(
            sign_a[i] * sign_b[j] * _convex_intersection(parts_a[i], parts_b[j])
            for i in range(2)
            for j in range(2)
        )
    return shared.clip(min=0)


def _oriented(corners: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Return the corners in the direction of positive area."""
    return np.where((areas < 0)[:, None, None], corners[:, ::-1], corners)


def _triangles(corners: np.ndarray, areas: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Cut each quadrilateral along a diagonal: two triangles (last corner twice) and signs."""
    parts, signs = [], []
    for chosen in ([0, 1, 2, 2], [0, 2, 3, 3]):
        part = corners[:, chosen]
        area = signed_areas(part)
        parts.append(_oriented(part, area))
        signs.append(np.sign(area) * np.where(areas < 0, -1, 1))
    return parts, signs


def _convex_intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the shared (P,) areas of convex polygons of positive area.

    The boundary of the intersection is what of a's boundary lies in b and of b's in a; the area is
    half the sum of the cross products along it. Where two edges coincide, a's counts and b's does
    not if they run the same way, and none if they run opposite ways.
    """
    # Corner first, pairs last: (4, P) vectors are contiguous.
    ax, ay = np.ascontiguousarray(np.moveaxis(a, 0, 2)).transpose(1, 0, 2)
    bx, by = np.ascontiguousarray(np.moveaxis(b, 0, 2)).transpose(1, 0, 2)
    a_edge = np.roll(ax, -1, axis=0) - ax, np.roll(ay, -1, axis=0) - ay
    b_edge = np.roll(bx, -1, axis=0) - bx, np.roll(by, -1, axis=0) - by
    same_way = np.sign(a_edge[0][:, None] * b_edge[0][None] + a_edge[1][:, None] * b_edge[1][None])
    extent = np.abs(ax).max(axis=0) + np.abs(ay).max(axis=0)
    extent += np.abs(bx).max(axis=0) + np.abs(by).max(axis=0)
    margin = _SHARED * extent
    shared = _length_inside((ax, ay), a_edge, (bx, by), b_edge, -margin * same_way)
    twice = (shared * (ax * a_edge[1] - ay * a_edge[0])).sum(axis=0)
    shared = _length_inside((bx, by), b_edge, (ax, ay), a_edge, margin)
    twice += (shared * (bx * b_edge[1] - by * b_edge[0])).sum(axis=0)
    return (twice / 2).clip(min=0)


def _length_inside(
    start: tuple[np.ndarray, np.ndarray],
    edge: tuple[np.ndarray, np.ndarray],
    other: tuple[np.ndarray, np.ndarray],
    other_edge: tuple[np.ndarray, np.ndarray],
    margin: np.ndarray,
) -> np.ndarray:
    """Return which share of each edge lies inside the other polygon.

    Args:
        start: x and y, each (4, P), of the edges' first ends.
        edge: (4, P) steps to their second ends.
        other: Corners of the other polygon, whose inside is to the left of its edges.
        other_edge: Its edges.
        margin: (P,) or (4, 4, P) distance from each of its lines that counts as outside.

    Returns:
        (4, P) shares in [0, 1].
    """
    length = np.hypot(*other_edge)
    scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
    normal_x, normal_y = -other_edge[1] * scale, other_edge[0] * scale
    # Differences first: where corners nearly coincide they are exact.
    distance = (start[0][:, None] - other[0]) * normal_x
    distance += (start[1][:, None] - other[1]) * normal_y
    distance += length == 0  # an edge of no length bounds nothing
    step = np.roll(distance, -1, axis=0) - distance
    begin = distance - margin
    end = begin + step
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = -begin / step
    enters = np.where(begin < 0, np.where(end < 0, 2.0, crossing), 0.0).max(axis=1)
    leaves = np.where(end < 0, np.where(begin < 0, -1.0, crossing), 1.0).min(axis=1)
    return (leaves - enters).clip(min=0)
