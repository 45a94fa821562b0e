import numpy as np
import pytest
import torch

from mmext.detection.keypoints.soft_nms import box_iou, legacy_soft_nms, soft_nms

CASES = {
    "gauss": {},
    "linear": dict(method="linear"),
    "merge_exp10": dict(merge_exponent=10.0),
    "merge_exp8": dict(merge_exponent=8.0),
}


def literal_loop(
    dets: np.ndarray, min_score: float, exponent: float | None
) -> tuple[np.ndarray, int]:
    """The official procedure, one row after the other."""
    rows = dets.astype(np.float64)
    count, first = len(rows), 0
    while first < count:
        best = first + int(np.argmax(rows[first:count, 4]))
        rows[[first, best], :5] = rows[[best, first], :5]
        kept = rows[first].copy()
        weights = np.repeat(kept[5:7], 2)
        total, place = kept[:4] * weights, first + 1
        while place < count:
            row = rows[place]
            size = np.minimum(kept[2:4], row[2:4]) - np.maximum(kept[:2], row[:2]) + 1
            if (size > 0).all():
                areas = sum(np.prod(r[2:4] - r[:2] + 1) for r in (kept, row))
                iou = size.prod() / (areas - size.prod())
                decay = np.exp(-(iou**2) / 0.5)
                if exponent is not None:
                    weight = (1 - decay) ** exponent * np.repeat(row[5:7], 2)
                    weights, total = weights + weight, total + weight * row[:4]
                row[4] *= decay
                if row[4] < min_score:
                    row[:5] = rows[count - 1, :5]
                    count, place = count - 1, place - 1
            place += 1
        if exponent is not None:
            rows[first, :4] = total / weights
        first += 1
    return rows, count


def random_dets(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.uniform(0, 60, (count, 2))
    sizes, scores = rng.uniform(1, 40, (count, 2)), rng.uniform(0, 0.3, (count, 3))
    return np.concatenate((corners, corners + sizes, scores), 1).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_legacy_golden(golden, case):
    rows, count = legacy_soft_nms(golden["nms_dets"].numpy(), **CASES[case])
    assert count == 40
    np.testing.assert_allclose(rows, golden[f"nms_{case}"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", ["gauss", "linear"])
def test_golden(golden, case):
    dets = golden["nms_dets"]
    result = soft_nms(dets[:, :4], dets[:, 4], torch.zeros(40), **CASES[case])
    expected = golden[f"nms_{case}"]
    torch.testing.assert_close(result.boxes, expected[:, :4])
    torch.testing.assert_close(result.scores, expected[:, 4])


@pytest.mark.parametrize("exponent", [None, 3.0])
@pytest.mark.parametrize("min_score", [1e-3, 0.1, 0.2])
def test_legacy_is_the_literal_loop_with_its_stale_rows(exponent, min_score):
    rng = np.random.default_rng(0)
    stale = 0
    for count in list(range(12)) * 8:
        dets = random_dets(rng, count)
        rows, left = legacy_soft_nms(dets, min_score=min_score, merge_exponent=exponent)
        expected, expected_left = literal_loop(dets, min_score, exponent)
        assert left == expected_left
        np.testing.assert_allclose(rows, expected, rtol=1e-4, atol=1e-4)
        stale += count - left
    assert stale > 0 or min_score < 0.1


@pytest.mark.parametrize("min_score", [1e-3, 0.1])
def test_without_merging_both_forms_keep_the_same(min_score):
    dets = random_dets(np.random.default_rng(1), 40)
    rows, left = legacy_soft_nms(dets, min_score=min_score)
    tensor = torch.from_numpy(dets)
    result = soft_nms(tensor[:, :4], tensor[:, 4], torch.zeros(40), min_score=min_score)
    np.testing.assert_allclose(result.boxes, rows[:left, :4])
    np.testing.assert_allclose(result.scores, rows[:left, 4], rtol=1e-5)


def test_merging_does_not_depend_on_the_order_of_the_input():
    dets = torch.from_numpy(random_dets(np.random.default_rng(2), 30))
    settings = dict(merge_exponent=10.0, min_score=0.05)
    results = [
        soft_nms(d[:, :4], d[:, 4], torch.zeros(30), corner_scores=d[:, 5:], **settings)
        for d in (dets, dets.flip(0))
    ]
    torch.testing.assert_close(results[0].boxes, results[1].boxes)


def test_merged_corner_by_hand():
    """Half overlap in the +1 convention: IoU 1/3."""
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 5, 9, 14]])
    corner_scores = torch.tensor([[0.8, 0.6], [0.4, 0.2]])
    scores = torch.tensor([0.7, 0.3])
    result = soft_nms(
        boxes, scores, torch.zeros(2), corner_scores=corner_scores, merge_exponent=1.0
    )
    decay = np.exp(-((1 / 3) ** 2) / 0.5)
    weight = (1 - decay) * np.array([0.4, 0.2])
    y1 = 5 * weight[0] / (0.8 + weight[0])
    y2 = (9 * 0.6 + 14 * weight[1]) / (0.6 + weight[1])
    torch.testing.assert_close(result.boxes[0], torch.tensor([0, y1, 9, y2]).float())
    torch.testing.assert_close(result.scores, torch.tensor([0.7, 0.3 * decay]).float())


@pytest.mark.parametrize(("plus_one", "iou"), [(True, 1 / 3), (False, 4 / 14)])
def test_the_two_pixel_conventions(plus_one, iou):
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 5, 9, 14]])
    torch.testing.assert_close(box_iou(boxes[0], boxes[1:], plus_one=plus_one), torch.tensor([iou]))
    scores = torch.tensor([0.9, 0.8])
    result = soft_nms(boxes, scores, torch.zeros(2), plus_one=plus_one)
    torch.testing.assert_close(result.scores[1], 0.8 * torch.exp(torch.tensor(-2 * iou**2)))


def test_boxes_without_area_have_no_overlap():
    point = torch.tensor([3.0, 3, 3, 3])
    assert box_iou(point, point[None], plus_one=False).tolist() == [0]
    assert box_iou(point, point[None]).tolist() == [1]


def test_classes_do_not_meet_and_max_num_is_the_best():
    boxes = torch.tensor([[0.0, 0, 9, 9]]).repeat(4, 1)
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    labels = torch.tensor([0, 1, 0, 2])
    result = soft_nms(boxes, scores, labels, max_num=3)
    torch.testing.assert_close(result.scores, torch.tensor([0.9, 0.8, 0.6]))
    assert result.labels.tolist() == [0, 1, 2]


def test_a_low_score_stays_until_something_overlaps():
    boxes = torch.tensor([[0.0, 0, 9, 9], [20, 20, 29, 29], [0, 0, 9, 8]])
    scores = torch.tensor([0.9, 5e-4, 2e-3])
    assert len(soft_nms(boxes, scores, torch.zeros(3)).scores) == 2


def test_nothing_and_wrong_arguments():
    empty = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long)
    assert soft_nms(*empty).boxes.shape == (0, 4)
    one = torch.zeros(1, 4), torch.zeros(1), torch.zeros(1)
    with pytest.raises(ValueError, match="'gaussian' or 'linear'"):
        soft_nms(*one, method="hard")
    with pytest.raises(ValueError, match="corner_scores"):
        soft_nms(*one, merge_exponent=10.0)
