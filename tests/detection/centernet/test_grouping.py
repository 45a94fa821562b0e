import pytest
import torch

from mmext.detection.centernet.grouping import group_quarters


def pair(tl, br, labels=(0, 0), scores=(0.8, 0.4), **options):
    sides = []
    for box, label, score in zip((tl, br), labels, scores, strict=True):
        sides += [torch.tensor([box], dtype=torch.float32), torch.tensor([score])]
        sides += [torch.tensor([label])]
    return group_quarters(*sides, **options)


def test_a_pair_spans_corner_to_corner_and_averages_scores():
    boxes, scores, labels = pair((0, 0, 10, 10), (10, 10, 20, 20), labels=(3, 3))
    assert boxes.tolist() == [[0, 0, 20, 20]]
    torch.testing.assert_close(scores, torch.tensor([0.6]))
    assert labels.tolist() == [3]


def test_other_class_or_no_extent_is_no_pair():
    assert len(pair((0, 0, 10, 10), (10, 10, 20, 20), labels=(0, 1))[0]) == 0
    assert len(pair((20, 0, 20, 10), (20, 10, 20, 20))[0]) == 0
    assert len(pair((30, 30, 20, 20), (20, 20, 10, 10))[0]) == 0


@pytest.mark.parametrize(
    ("side", "ratio"),
    [(50.0, 1 / 5), (59.0, 1 / 5), (60.0, 1 / 4), (200.0, 1 / 4)],
)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("branch", ["tl", "br"])
def test_both_centres_must_lie_in_the_central_region(side, ratio, axis, branch):
    """3500 px^2 lies between 59 x 59 and 60 x 60."""
    for share, expected in ((0.98, 1), (1.02, 0)):
        centre = torch.full((2,), side / 2)
        moved = centre.clone()
        moved[axis] += share * ratio * side / 2
        tl_centre, br_centre = (moved, centre) if branch == "tl" else (centre, moved)
        boxes, _, _ = pair((0, 0, *tl_centre.tolist()), (*br_centre.tolist(), side, side))
        assert len(boxes) == expected


def test_the_border_of_the_region_is_outside_and_3500_is_small():
    # 40 x 50 px^2 = 2000: half the region is 4 wide; exactly 4 is out
    assert len(pair((0, 0, 24, 25), (20, 25, 40, 50))[0]) == 0
    assert len(pair((0, 0, 23.9, 25), (20, 25, 40, 50))[0]) == 1
    # 50 x 70 px^2 = 3500 is not above the threshold: half the region is 5, not 6.25
    assert len(pair((0, 0, 30.5, 35), (25, 35, 50, 70))[0]) == 0
    assert len(pair((0, 0, 30.5, 35), (25, 35, 50, 70), large_area=3499.0)[0]) == 1


def test_centres_too_far_apart():
    """Within the region (20 x 20 of 100 x 100 at ratio 1/5), spanning 16 x 12.8 = 51 % of it."""
    options = dict(large_area=1e9)
    far = ((0, 0, 42, 43.6), (58, 56.4, 100, 100))
    assert len(pair(*far, **options)[0]) == 0
    assert len(pair(*far, distance_threshold=0.52, **options)[0]) == 1
    assert len(pair((0, 0, 42, 43.9), (58, 56.1, 100, 100), **options)[0]) == 1


def test_all_pairs_are_tried_and_none_is_fine():
    tl = torch.tensor([[0.0, 0, 10, 10], [100, 100, 120, 120]])
    br = torch.tensor([[120.0, 120, 140, 140], [10, 10, 20, 20], [10, 10, 21, 21]])
    ones = torch.ones(3)
    zeros = torch.zeros(3, dtype=torch.long)
    boxes, _, _ = group_quarters(tl, ones[:2], zeros[:2], br, ones, zeros)
    assert sorted(boxes.tolist()) == [[0, 0, 20, 20], [0, 0, 21, 21], [100, 100, 140, 140]]
    none = group_quarters(tl[:0], ones[:0], zeros[:0], br, ones, zeros)
    assert [len(part) for part in none] == [0, 0, 0]
    assert none[0].shape == (0, 4)


@pytest.mark.parametrize(("side", "ratio"), [(149.0, 1 / 3), (151.0, 1 / 5)])
def test_the_region_of_the_paper(side, ratio):
    options = dict(small_ratio=1 / 3, large_ratio=1 / 5, large_area=150**2)
    for share, expected in ((0.98, 1), (1.02, 0)):
        x = side / 2 + share * ratio * side / 2
        found = pair((0, 0, x, side / 2), (side / 2, side / 2, side, side), **options)
        assert len(found[0]) == expected


def test_without_the_centre_check_every_pair_that_spans_a_box_is_an_object():
    tl = torch.tensor([[0.0, 0, 10, 10], [30, 30, 40, 40]])
    br = torch.tensor([[10.0, 10, 20, 20], [5, 5, 35, 35]])
    scores, labels = torch.tensor([0.8, 0.6]), torch.zeros(2, dtype=torch.long)
    arguments = (tl, scores, labels, br, scores, labels)
    checked, *_ = group_quarters(*arguments)
    assert checked.tolist() == [[0, 0, 20, 20]]
    boxes, means, _ = group_quarters(*arguments, center_check=False)
    assert boxes.tolist() == [[0, 0, 20, 20], [0, 0, 35, 35], [30, 30, 35, 35]]
    torch.testing.assert_close(means, torch.tensor([0.8, 0.7, 0.6]))
    other = (tl, scores, labels, br, scores, labels + 1)
    assert not len(group_quarters(*other, center_check=False)[0])
