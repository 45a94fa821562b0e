import numpy as np
import pytest
from rotated.literal_devkit import literal_nms

from mmext.rotated.evaluation import (
    join_detections,
    merge_patches,
    parse_patch_name,
    patch_name,
    suppress,
    to_corners,
)
from mmext.rotated.evaluation.suppression import _greedy


@pytest.mark.parametrize("image", ["P0003", "a__b", "x__1024__0___7", "ship_1___2", "with.dot"])
def test_names_come_back(image):
    assert parse_patch_name(patch_name(image, 1024, 824, 1648)) == (image, 824, 1648)


@pytest.mark.parametrize("name", ["P0003", "100000648", "a__b", "a___b", "P0003__1024"])
def test_other_names_are_whole_images(name):
    assert parse_patch_name(name) == (name, 0, 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("P0003__1024__x___0", "looks like a patch but is none"),
        ("P0003__1024__0___", "looks like a patch but is none"),
        ("P0003__1024__-5___0", "looks like a patch but is none"),
        ("P0003__0.5__0___0", "devkit writes a scale there"),
    ],
)
def test_names_that_are_almost_patches_are_refused(name, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_patch_name(name)
    assert name in str(error.value)


def patches(**boxes):
    """Detections by patch: name -> rows of x1, y1, x2, y2, score, label."""
    rows = [np.array(part, dtype=float).reshape(-1, 6) for part in boxes.values()]
    return join_detections(
        list(boxes),
        [to_corners(part[:, :4]) for part in rows],
        [part[:, 4] for part in rows],
        [part[:, 5] for part in rows],
    )


def test_an_object_on_a_patch_border_is_kept_once():
    """It lies at 830 to 870 of the image: at 830 in one patch, at 6 in the one from 824."""
    found = patches(
        P1__1024__0___0=[[830, 10, 870, 30, 0.6, 0]],
        P1__1024__824___0=[[6, 10, 46, 30, 0.9, 0], [6, 10, 46, 30, 0.3, 1]],
        P2__1024__0___0=[[830, 10, 870, 30, 0.2, 0]],
        P3=[[0, 0, 5, 5, 0.1, 0]],
    )
    for order in ([0, 1, 2, 3], [3, 2, 0, 1]):
        merged = merge_patches(found.select([*order, 4]))
        assert merged.images == ("P1", "P2", "P3")
        first = (merged.image == 0) & (merged.label == 0)
        assert merged.score[first].tolist() == [0.9]
        assert merged.corners[first][0].min(axis=0).tolist() == [830, 10]
        assert sorted(merged.score.tolist()) == [0.1, 0.2, 0.3, 0.9]


def test_an_image_whose_patches_found_nothing_stays_in_the_list():
    merged = merge_patches(patches(P1__1024__0___0=[], P2__1024__0___0=[]))
    assert merged.images == ("P1", "P2")
    assert len(merged) == 0


def test_task_2_suppresses_horizontal_boxes():
    """Two slender boxes side by side at 45 degrees: apart as rboxes, on each other as hboxes."""
    rows = np.array([[50, 50, 60, 6, np.pi / 4], [57, 43, 60, 6, np.pi / 4]])
    found = join_detections(["P1"], [to_corners(rows)], [np.array([0.9, 0.8])], [np.zeros(2, int)])
    assert len(merge_patches(found)) == 2
    merged = merge_patches(found, horizontal=True)
    assert len(merged) == 1
    np.testing.assert_allclose(np.ptp(merged.corners[0], axis=0), 66 / np.sqrt(2))


@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_suppression_is_that_of_one_pass_down_the_scores(horizontal, threshold):
    rng = np.random.default_rng(0)
    boxes = np.column_stack(
        [rng.uniform(0, 120, (60, 2)), rng.uniform(5, 40, (60, 2)), rng.uniform(-3, 3, 60)]
    )
    corners, scores = to_corners(boxes), rng.permutation(60) / 60
    group = rng.integers(0, 2, 60)
    kept = suppress(corners, scores, group, threshold, horizontal=horizontal)
    for value in range(2):
        rows = np.flatnonzero(group == value)
        iou = dict(iou=pixels_shared) if horizontal else {}
        expected = literal_nms(corners[rows], scores[rows], threshold, **iou)
        assert sorted(rows[expected].tolist()) == np.flatnonzero(kept & (group == value)).tolist()


def pixels_shared(first, second):
    """IoU of the upright boxes around, corners being pixels."""
    a = [*np.min(first, axis=0), *np.max(first, axis=0)]
    b = [*np.min(second, axis=0), *np.max(second, axis=0)]
    width, height = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1, 0) for i in range(2))
    areas = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_suppression_agrees_with_mmcvs():
    import torch
    from mmcv.ops import nms_rotated

    rng = np.random.default_rng(1)
    boxes = np.column_stack(
        [rng.uniform(0, 200, (300, 2)), rng.uniform(5, 60, (300, 2)), rng.uniform(-1.5, 1.5, 300)]
    ).astype(np.float32)
    scores = (rng.permutation(300) / 300).astype(np.float32)
    _, theirs = nms_rotated(torch.from_numpy(boxes), torch.from_numpy(scores), 0.1)
    ours = suppress(to_corners(boxes), scores, np.zeros(300, int), 0.1)
    assert sorted(theirs.tolist()) == np.flatnonzero(ours).tolist()


def test_a_box_returns_when_its_suppressor_is_suppressed():
    """A chain 0 - 1 - 2 - 3: 1 goes because of 0, so 2 stays, so 3 goes."""
    np.testing.assert_array_equal(
        _greedy(5, np.array([0, 1, 2]), np.array([1, 2, 3])), [True, False, True, False, True]
    )


def test_equal_scores_do_not_depend_on_the_order_of_rows():
    corners = to_corners(np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [2, 0, 12, 10]]))
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        kept = suppress(corners[order], np.full(3, 0.5), np.zeros(3, int), 0.1)
        assert np.array(order)[kept].tolist() == [0]
