"""AP by hand, and against a slow reading of the rules (literal_devkit)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rotated.literal_devkit import ap_of, pixel_iou, polygon_iou, walk_down

from mmext.rotated.evaluation import (
    join_detections,
    join_ground_truth,
    match,
    score_matches,
    to_corners,
)
from mmext.rotated.evaluation.average_precision import area_ap, eleven_point_ap


def upright(*xs):
    """10 x 10 boxes at these x, corners in order."""
    return to_corners(np.array([[x, 0.0, x + 10, 10.0] for x in xs]).reshape(-1, 4))


def one_image(xs, scores, targets, difficult=None, *, thresholds=(0.5,), mode="11points"):
    """AP of a single class in a single image."""
    difficult = np.zeros(len(targets), bool) if difficult is None else np.array(difficult, bool)
    labels = np.zeros(len(xs), int)
    found = join_detections(["a"], [upright(*xs)], [np.array(scores, float)], [labels])
    truth = join_ground_truth(
        ["a"], [upright(*targets)], [np.zeros(len(targets), int)], [difficult]
    )
    matches = match(found, truth, num_classes=1, min_iou=min(thresholds))
    return score_matches(matches, truth.difficult, iou_thrs=thresholds, eval_mode=mode)


def test_ap_by_hand():
    """Right, false, right of 3 objects: precision 1 to recall 1/3, 2/3 to recall 2/3, then 0."""
    args = [0, 500, 100], [0.9, 0.8, 0.7], [0, 100, 200]
    result = one_image(*args)
    # Recalls 0, 0.1, 0.2, 0.3 have precision 1; 0.4, 0.5, 0.6 have 2/3.
    assert result.ap[0, 0] == pytest.approx((4 * 1 + 3 * 2 / 3) / 11)
    assert one_image(*args, mode="area").ap[0, 0] == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    curve = result.curves[0][0]
    np.testing.assert_allclose(curve.recall, [1 / 3, 1 / 3, 2 / 3])
    np.testing.assert_allclose(curve.precision, [1, 1 / 2, 2 / 3])
    np.testing.assert_array_equal(curve.score, [0.9, 0.8, 0.7])


def test_recall_levels_are_those_of_the_devkit_to_the_last_bit():
    """3 of 10 found: 0.3 is below the level 0.30000000000000004, as it is in the devkit."""
    recall, precision = np.arange(1, 4) / 10, np.ones(3)
    assert eleven_point_ap(recall, precision) == pytest.approx(3 / 11)
    assert area_ap(recall, precision) == pytest.approx(0.3)


def test_a_second_detection_of_an_object_is_false():
    result = one_image([0, 1, 100], [0.9, 0.8, 0.7], [0, 100], mode="area")
    assert result.ap[0, 0] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_it_does_not_fall_back_on_the_second_best_object():
    """Both detections overlap object 0 most, so object 4 stays unfound."""
    result = one_image([0, 1], [0.9, 0.8], [0, 4], thresholds=(0.3,), mode="area")
    assert result.ap[0, 0] == pytest.approx(0.5)


def test_detections_of_difficult_objects_do_not_count():
    plain = one_image([0, 100], [0.9, 0.8], [0, 100, 200], mode="area")
    with_difficult = one_image(
        [300, 0, 301, 100], [1.0, 0.9, 0.85, 0.8], [0, 100, 200, 300], [0, 0, 0, 1], mode="area"
    )
    assert with_difficult.ap[0, 0] == plain.ap[0, 0] == pytest.approx(2 / 3)
    assert (with_difficult.num_objects[0], with_difficult.num_ignored[0]) == (3, 1)


def test_an_image_with_difficult_objects_only():
    result = one_image([0, 500], [0.9, 0.8], [0], [1])
    assert np.isnan(result.ap[0, 0])
    assert result.mean_ap() == 0
    assert np.isnan(result.mean_ap(skip_absent=True))


def test_the_threshold_itself_is_no_match():
    """A third of the box shared on either side: IoU exactly 0.5 with 10 x 10 at 0 and 10 x 5."""
    half = to_corners(np.array([[0.0, 0, 10, 5]]))
    found = join_detections(["a"], [half], [np.ones(1)], [np.zeros(1, int)])
    truth = join_ground_truth(["a"], [upright(0)], [np.zeros(1, int)], [np.zeros(1, bool)])
    matches = match(found, truth, num_classes=1, min_iou=0.4)
    result = score_matches(matches, truth.difficult, iou_thrs=(0.4999999, 0.5000001))
    np.testing.assert_array_equal(result.ap[:, 0], [1, 0])
    # Pixels are exact: 10 x 5 of 10 x 10.
    half = to_corners(np.array([[0.0, 0, 9, 4]]))
    full = to_corners(np.array([[0.0, 0, 9, 9]]))
    found = join_detections(["a"], [half], [np.ones(1)], [np.zeros(1, int)])
    truth = join_ground_truth(["a"], [full], [np.zeros(1, int)], [np.zeros(1, bool)])
    matches = match(found, truth, num_classes=1, min_iou=0.4, horizontal=True)
    assert matches.iou[0] == 0.5
    assert score_matches(matches, truth.difficult, iou_thrs=(0.5,)).ap[0, 0] == 0


def test_classes_and_images_do_not_mix():
    boxes, labels = [upright(0), upright(0)], [np.array([0]), np.array([1])]
    found = join_detections(["a", "b"], boxes, [np.ones(1), np.ones(1)], labels)
    truth = join_ground_truth(["b", "a"], boxes, labels, [np.zeros(1, bool)] * 2)
    result = score_matches(match(found, truth, num_classes=3, min_iou=0.5), truth.difficult)
    assert result.ap[0, :2].tolist() == [0, 0]
    assert result.mean_ap(skip_absent=True) == result.mean_ap() == 0


def test_classes_without_objects_count_as_zero_or_not_at_all():
    result = one_image([0], [0.9], [0])
    found = join_detections(["a"], [upright(0)], [np.ones(1)], [np.zeros(1, int)])
    truth = join_ground_truth(["a"], [upright(0)], [np.zeros(1, int)], [np.zeros(1, bool)])
    result = score_matches(match(found, truth, num_classes=4, min_iou=0.5), truth.difficult)
    assert result.mean_ap() == pytest.approx(1 / 4)
    assert result.mean_ap(skip_absent=True) == 1


@pytest.mark.parametrize("mode", ["11points", "area"])
def test_nothing_found_and_nothing_there(mode):
    assert one_image([], [], [0, 100], mode=mode).ap[0, 0] == 0
    assert np.isnan(one_image([], [], [], mode=mode).ap[0, 0])
    assert one_image([0], [0.5], [], mode=mode).num_detections[0] == 1


def random_set(rng, images=6, classes=2):
    """Boxes around objects and elsewhere, duplicates, difficult objects, empty images."""
    truths, founds = [], []
    for image in range(images):
        count = 0 if image == 0 else int(rng.integers(1, 6))
        boxes = np.column_stack(
            [
                rng.uniform(0, 90, (count, 2)),
                rng.uniform(8, 40, (count, 2)),
                rng.uniform(-3, 3, count),
            ]
        )
        truths.append((boxes, rng.integers(0, classes, count), rng.random(count) < 0.25))
        again = np.repeat(np.arange(count), 3)
        near = boxes[again] + rng.normal(0, 1, (len(again), 5)) * [2.5, 2.5, 2, 2, 0.1]
        far = np.column_stack([rng.uniform(0, 90, (4, 2)), np.full((4, 2), 12.0), np.zeros(4)])
        labels = np.concatenate([truths[-1][1][again], rng.integers(0, classes, 4)])
        founds.append((np.vstack([near.clip([-50, -50, 3, 3, -4]), far]), labels))
    scores = rng.permutation(sum(len(labels) for _, labels in founds)) / 1000.0
    return truths, founds, scores


def records(truths, founds, scores):
    names = [f"image {index}" for index in range(len(truths))]
    cuts = np.cumsum([len(labels) for _, labels in founds])[:-1]
    corners = [to_corners(boxes) for boxes, _ in founds]
    found = join_detections(names, corners, np.split(scores, cuts), [part for _, part in founds])
    truth = join_ground_truth(
        names,
        [to_corners(boxes) for boxes, _, _ in truths],
        [labels for _, labels, _ in truths],
        [difficult for _, _, difficult in truths],
    )
    return found, truth


@pytest.mark.parametrize("horizontal", [False, True])
@pytest.mark.parametrize("mode", ["11points", "area"])
def test_against_a_literal_reading_of_the_rules(mode, horizontal):
    rng = np.random.default_rng(0)
    thresholds = (0.3, 0.5, 0.75)
    seen = set()
    for _ in range(6):
        found, truth = records(*random_set(rng))
        matches = match(found, truth, num_classes=2, min_iou=0.3, horizontal=horizontal)
        result = score_matches(matches, truth.difficult, iou_thrs=thresholds, eval_mode=mode)
        for label in range(2):
            mine, theirs = found.label == label, truth.label == label
            detections = list(
                zip(found.image[mine], found.score[mine], found.corners[mine], strict=True)
            )
            objects = list(
                zip(
                    truth.image[theirs], truth.corners[theirs], truth.difficult[theirs], strict=True
                )
            )
            wanted = sum(not difficult for _, _, difficult in objects)
            for row, threshold in enumerate(thresholds):
                iou = pixel_iou if horizontal else polygon_iou
                verdicts = walk_down(detections, objects, threshold, iou)
                seen |= set(verdicts)
                expected = ap_of(verdicts, wanted, mode) if wanted else np.nan
                np.testing.assert_allclose(result.ap[row, label], expected, atol=1e-12)
    assert seen == {True, False, None}


def test_the_order_of_rows_images_and_equal_scores_does_not_matter():
    rng = np.random.default_rng(0)
    truths, founds, scores = random_set(rng)
    scores = (scores * 20).round() / 20  # many ties
    found, truth = records(truths, founds, scores)
    expected = score_matches(match(found, truth, num_classes=2, min_iou=0.5), truth.difficult).ap
    assert len(np.unique(scores)) < len(scores) / 2
    for _ in range(3):
        rows = rng.permutation(len(found))
        images = rng.permutation(len(truth.images))
        shuffled = found.select(rows)
        turned = records(
            [truths[i] for i in images], [founds[i] for i in images], np.zeros(len(scores))
        )[1]
        # records() names images by place: give them their own names again.
        renamed = type(truth)(**{**vars(turned), "images": tuple(truth.images[i] for i in images)})
        again = score_matches(
            match(shuffled, renamed, num_classes=2, min_iou=0.5), renamed.difficult
        )
        np.testing.assert_array_equal(again.ap, expected)


@settings(max_examples=30, deadline=None)
@given(
    boxes=st.lists(
        st.tuples(
            st.floats(0, 20_000),
            st.floats(0, 20_000),
            st.floats(1, 500),
            st.floats(1, 500),
            st.floats(-3.2, 3.2),
        ),
        min_size=1,
        max_size=8,
        unique=True,
    ),
    mode=st.sampled_from(["11points", "area"]),
)
def test_perfect_detections_have_ap_one(boxes, mode):
    corners = to_corners(np.array(boxes))
    # Far apart, so that an object has one candidate.
    corners += np.arange(len(boxes))[:, None, None] * 30_000.0
    labels = np.zeros(len(boxes), int)
    found = join_detections(["a"], [corners[::-1]], [np.full(len(boxes), 0.5)], [labels])
    truth = join_ground_truth(["a"], [corners], [labels], [np.zeros(len(boxes), bool)])
    matches = match(found, truth, num_classes=1, min_iou=0.5)
    result = score_matches(matches, truth.difficult, iou_thrs=(0.5, 0.95), eval_mode=mode)
    np.testing.assert_allclose(result.ap, 1, atol=1e-12)


def test_the_same_as_mmrotates_where_the_rules_agree():
    """No difficult objects, no equal scores, no IoU near the threshold: seeds 0 and 1 have none."""
    from unittest import mock

    from mmrotate.evaluation import eval_rbbox_map

    pool = mock.Mock(starmap=lambda function, rows: [function(*row) for row in rows])
    for seed in (0, 1):
        truths, founds, scores = random_set(np.random.default_rng(seed))
        truths = [(boxes, labels, np.zeros(len(boxes), bool)) for boxes, labels, _ in truths[1:]]
        count = len(founds[0][1])
        founds, scores = founds[1:], scores[count:]
        found, truth = records(truths, founds, scores)
        ours = score_matches(match(found, truth, num_classes=2, min_iou=0.5), truth.difficult)
        cuts = np.cumsum([len(labels) for _, labels in founds])[:-1]
        lists = [
            [np.column_stack([boxes, part])[labels == label] for label in range(2)]
            for (boxes, labels), part in zip(founds, np.split(scores, cuts), strict=True)
        ]
        none = dict(bboxes_ignore=np.zeros((0, 5)), labels_ignore=np.zeros(0))
        annotations = [dict(bboxes=boxes, labels=labels, **none) for boxes, labels, _ in truths]
        place = "mmrotate.evaluation.functional.mean_ap.get_context"
        with mock.patch(place, return_value=mock.Mock(Pool=lambda count: pool)):
            mean, classes = eval_rbbox_map(lists, annotations, logger="silent")
        assert mean == pytest.approx(ours.mean_ap(skip_absent=True)[0], abs=1e-6)
        np.testing.assert_allclose([c["ap"] for c in classes], ours.ap[0], atol=1e-6)


def test_bad_input_is_named():
    boxes, labels, scores = [upright(0)], [np.zeros(1, int)], [np.ones(1)]
    truth = join_ground_truth(["a"], boxes, labels, [np.zeros(1, bool)])
    stranger = join_detections(["P0001"], boxes, scores, labels)
    with pytest.raises(ValueError, match=r"without ground truth, such as 'P0001'"):
        match(stranger, truth, num_classes=1, min_iou=0.5)
    wrong = join_detections(["a"], boxes, scores, [np.array([7])])
    with pytest.raises(ValueError, match="label 7 in the detections, but there are 2 classes"):
        match(wrong, truth, num_classes=2, min_iou=0.5)
    with pytest.raises(ValueError, match=r"1 scores are NaN or infinite, the first in image 'a'"):
        join_detections(["a"], boxes, [np.array([np.nan])], labels)
    with pytest.raises(ValueError, match=r"NaN or infinite coordinates, the first in image 'a'"):
        join_detections(["a"], [np.full((1, 4, 2), np.inf)], scores, labels)
    with pytest.raises(ValueError, match="image 'a' is listed twice"):
        join_detections(["a", "a"], boxes * 2, scores * 2, labels * 2)
