import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from mmext.rotated.evaluation import quads
from mmext.rotated.evaluation.quads import (
    aspect_ratios,
    horizontal_boxes,
    horizontal_pair_iou,
    iou_bounds,
    overlapping_pairs,
    pair_iou,
    to_corners,
)


def random_boxes(rng, count, spread=60.0):
    return np.column_stack(
        [
            rng.uniform(0, spread, (count, 2)),
            rng.uniform(4, 60, (count, 2)),
            rng.uniform(-4, 4, count),
        ]
    )


def shapely_iou(first, second):
    a, b = shapely.polygons(first), shapely.polygons(second)
    shared = shapely.area(shapely.intersection(a, b))
    return shared / (shapely.area(a) + shapely.area(b) - shared)


def test_corners_of_every_form():
    upright = np.array([[10.0, 20.0, 8.0, 4.0, 0.0]])
    expected = [[6, 18], [14, 18], [14, 22], [6, 22]]
    np.testing.assert_allclose(to_corners(upright)[0], expected)
    np.testing.assert_allclose(to_corners(np.array([[6, 18, 14, 22]]))[0], expected)
    np.testing.assert_allclose(to_corners(np.array(expected).reshape(1, 8))[0], expected)
    # A quarter turn in image axes takes the x axis to the y axis.
    turned = to_corners(np.array([[10.0, 20.0, 8.0, 4.0, np.pi / 2]]))
    np.testing.assert_allclose(turned[0], [[12, 16], [12, 24], [8, 24], [8, 16]])


def test_corners_agree_with_mmrotates_boxes():
    torch = pytest.importorskip("torch")
    from mmrotate.structures.bbox import rbox2qbox

    boxes = random_boxes(np.random.default_rng(0), 50)
    theirs = rbox2qbox(torch.from_numpy(boxes)).numpy().reshape(-1, 4, 2)
    np.testing.assert_allclose(pair_iou(to_corners(boxes), theirs), 1, atol=1e-9)


@pytest.mark.parametrize("shape", [(3,), (2, 6), (2, 5, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected boxes of shape"):
        to_corners(np.zeros(shape))


def test_iou_is_that_of_shapely():
    rng = np.random.default_rng(0)
    a, b = to_corners(random_boxes(rng, 4000)), to_corners(random_boxes(rng, 4000))
    np.testing.assert_allclose(pair_iou(a + 20_000, b + 20_000), shapely_iou(a, b), atol=1e-8)


def test_iou_of_nearly_equal_boxes_where_mmcvs_fails():
    """mmcv's float32 op gives about 0.33 for some of these pairs."""
    rng = np.random.default_rng(0)
    a = random_boxes(rng, 20_000)
    b = a + rng.normal(0, 1e-3, a.shape) * [1, 1, 1, 1, 0.01]
    ours = pair_iou(to_corners(a), to_corners(b))
    np.testing.assert_allclose(
        ours[:2000], shapely_iou(to_corners(a), to_corners(b))[:2000], atol=1e-8
    )
    assert ours.min() > 0.99


@settings(max_examples=60, deadline=None)
@given(
    turn=st.floats(-3.2, 3.2),
    shift=st.floats(-14, -1).map(lambda e: 10**e),
    scale=st.floats(-3, 4).map(lambda e: 10**e),
    ratio=st.floats(1, 50),
)
def test_iou_of_equal_and_nearly_equal_boxes_is_one(turn, shift, scale, ratio):
    box = np.array([[3.0 * scale, -7.0 * scale, ratio * scale, scale, turn]])
    near = box + np.array([[shift, -shift, shift, shift, 0]]) * scale * 0.01
    corners = to_corners(box)
    assert pair_iou(corners, corners)[0] == pytest.approx(1, abs=1e-7)
    assert pair_iou(corners, corners[:, ::-1])[0] == pytest.approx(1, abs=1e-7)
    assert pair_iou(corners, to_corners(near))[0] > 1 - 0.05 * shift - 1e-7


@pytest.mark.parametrize("turn", [0.0, 0.3, np.pi / 4])
def test_boxes_on_a_grid_share_edges(turn):
    """Touching, nested and equal boxes with common edges, turned so that nothing is exact."""
    rng = np.random.default_rng(0)
    low, size = rng.integers(0, 5, (2, 20_000, 2)), rng.integers(1, 4, (2, 20_000, 2))
    overlap = (np.minimum(*(low + size)) - np.maximum(*low)).clip(min=0).prod(axis=1)
    expected = overlap / (size.prod(axis=2).sum(axis=0) - overlap)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    a, b = (
        to_corners(np.hstack([corner, corner + side])) @ rotation.T + 3000
        for corner, side in zip(low, size, strict=True)
    )
    np.testing.assert_allclose(pair_iou(a, b), expected, atol=1e-9)


def test_shapes_that_are_not_convex():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 10, (2, 2000, 4, 2))
    simple = shapely.is_valid(shapely.polygons(a)) & shapely.is_valid(shapely.polygons(b))
    assert 300 < simple.sum() < 1700
    np.testing.assert_allclose(pair_iou(a, b)[simple], shapely_iou(a[simple], b[simple]), atol=1e-8)


def test_a_shape_that_crosses_itself_counts_by_signed_area():
    """A bow tie with one wing of 3/4 and one of 1/4 of the whole."""
    bow = np.array([[[0.0, 0], [4, 0], [0, 3], [1, 3]]])
    assert 0 <= pair_iou(bow, bow)[0] <= 1


def test_boxes_without_area():
    line = np.array([[[0.0, 0], [5, 0], [5, 0], [0, 0]]])
    square = to_corners(np.array([[0.0, 0, 5, 5]]))
    assert pair_iou(line, line)[0] == pair_iou(line, square)[0] == pair_iou(square, line)[0] == 0


def test_bounds_are_never_below_the_iou():
    rng = np.random.default_rng(0)
    a, b = to_corners(random_boxes(rng, 3000)), rng.uniform(0, 60, (3000, 4, 2))
    pairs = np.arange(3000), np.arange(3000)
    for second in (b, to_corners(random_boxes(rng, 3000))):
        assert (iou_bounds(a, second, pairs) >= pair_iou(a, second)).all()


def test_horizontal_iou_counts_pixels():
    first, second = to_corners(np.array([[0, 0, 9, 9]])), to_corners(np.array([[5, 0, 14, 9]]))
    assert horizontal_pair_iou(first, second)[0] == pytest.approx(50 / 150)


@pytest.mark.parametrize("block", [1 << 20, 7])
def test_pairs_are_those_of_all_against_all(monkeypatch, block):
    monkeypatch.setattr(quads, "_CANDIDATES", block)
    rng = np.random.default_rng(0)

    def draw(count):
        low = rng.uniform(-500, 3000, (count, 2)).round()
        return np.hstack([low, low + (10 ** rng.uniform(0, 3.3, (count, 2))).round()])

    for count in (1, 40, 150):
        a, b = draw(count), draw(count)
        group_a, group_b = rng.integers(0, 3, (2, count)) * 5
        meet = (a[:, None, :2] <= b[:, 2:]).all(-1) & (b[:, :2] <= a[:, None, 2:]).all(-1)
        expected = np.nonzero(meet & (group_a[:, None] == group_b))
        np.testing.assert_array_equal(overlapping_pairs(a, group_a, b, group_b), expected)
    none = np.zeros((0, 4)), np.zeros(0, int)
    assert len(overlapping_pairs(*none, a, group_a)[0]) == 0


def test_aspect_ratios_and_horizontal_boxes():
    boxes = np.array([[0, 0, 30, 10, 0.7], [0, 0, 10, 80, 1.0], [0, 0, 5, 5, 0], [0, 0, 5, 0, 0]])
    np.testing.assert_allclose(aspect_ratios(to_corners(boxes)), [3, 8, 1, np.inf])
    corners = np.array([[[3.0, 9], [1, 4], [7, 2], [8, 5]]])
    np.testing.assert_array_equal(horizontal_boxes(corners), [[1, 2, 8, 9]])
