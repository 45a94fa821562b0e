"""Proposals, their assignment, score fusion and flip consistency by construction."""

import pytest
import torch
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.models.task_modules.samplers import RandomSampler

from mmext.detection.cpn.decode import detect, flip_support, fuse_scores, passing, pool_views
from mmext.detection.cpn.proposals import Proposals, propose, sample_rois
from mmext.detection.keypoints.corner_decode import CornerPairs

ASSIGNER = MaxIoUAssigner(pos_iou_thr=0.7, neg_iou_thr=0.7, min_pos_iou=0.5)
SAMPLER = RandomSampler(num=4900, pos_fraction=1.0, add_gt_as_proposals=True)


def proposals(boxes, images=None) -> Proposals:
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    images = torch.zeros(len(boxes)).long() if images is None else torch.tensor(images)
    scores = torch.linspace(0.9, 0.5, len(boxes))
    return Proposals(images, boxes, scores, scores[:, None].repeat(1, 2), torch.zeros_like(images))


def sample(found: Proposals, gt_images, gt_boxes, gt_labels, num_images=1, **settings):
    return sample_rois(
        found,
        torch.tensor(gt_images).long(),
        torch.tensor(gt_boxes).long().view(-1, 4),
        torch.tensor(gt_labels).long(),
        num_images=num_images,
        num_classes=9,
        assigner=ASSIGNER,
        sampler=SAMPLER,
        **settings,
    )


def test_pairs_as_in_a_loop():
    heat = torch.randn(2, 2, 3, 8, 9) * 3
    found = propose(heat[0], heat[1], num_peaks=20, kernel=1)
    expected = []
    for image in range(2):
        best = []
        for maps in heat[:, image]:
            index = maps.flatten().argsort(descending=True)[:20].tolist()
            best.append([(i // 72, i % 9, i // 9 % 8, maps.flatten()[i].sigmoid()) for i in index])
        for c, x1, y1, s1 in best[0]:
            for d, x2, y2, s2 in best[1]:
                if c == d and x2 >= x1 and y2 >= y1:
                    expected.append((image, x1, y1, x2, y2, c, (s1 + s2) / 2))
    assert len(expected) > 9
    ours = torch.stack((found.images, *found.boxes.T, found.labels, found.scores), 1)
    torch.testing.assert_close(ours, torch.tensor(expected).to(ours))


def test_a_single_cell_is_a_box():
    heat = torch.full((1, 1, 4, 4), -9.0)
    heat[0, 0, 2, 1] = 5
    found = propose(heat, heat, num_peaks=1)
    assert found.boxes.tolist() == [[1, 2, 1, 2]]


def test_cells_that_are_no_peak_make_no_pair():
    """Lists of 9 corners, 2 of which are peaks: merging would divide by the zero of the others."""
    logits = torch.linspace(-8, -6, 64).view(1, 1, 8, 8)
    logits[0, 0, 1, 1] = 3
    found = propose(logits, logits, num_peaks=9)
    assert found.boxes.tolist() == [[1, 1, 1, 1], [1, 1, 7, 7], [7, 7, 7, 7]]
    assert (found.corner_scores > 0).all()
    view = CornerPairs(found.boxes, found.scores, found.corner_scores, found.labels)
    nms = dict(merge_exponent=10.0)
    detections = detect([view], [False], flip_consistency=None, nms=nms, max_per_img=10)
    assert len(detections) == 3
    assert detections.bboxes.isfinite().all()


@pytest.mark.parametrize(
    ("width", "plus_one", "positive"),
    [
        (6, True, True),  # 7 of 10 cells: IoU .7 with + 1
        (6, False, True),  # 6 / 9, but it is the best of the object and above .5
        (4, True, True),  # .5: just enough for the best of an object
        (4, False, False),  # 4 / 9
        (3, True, False),
    ],
)
def test_the_best_proposal_of_an_object(width, plus_one, positive):
    found = proposals([[0, 0, width, 9]])
    sampled = sample(found, [0], [[0, 0, 9, 9]], [4], plus_one=plus_one)
    assert sampled.labels.tolist() == [4, 4 if positive else 9]
    assert sampled.is_gt.tolist() == [True, False]
    assert sampled.rois[1].tolist() == [0, 0, 0, width + plus_one, 9 + plus_one]


def test_threshold_and_ties():
    """IoU 1, .8, .7, .69 with + 1; then two that tie at .6 as the best of the other object."""
    boxes = [[0, 0, 99, 0], [0, 0, 79, 0], [0, 0, 69, 0], [0, 0, 68, 0]]
    boxes += [[0, 50, 5, 50], [4, 50, 9, 50], [0, 50, 4, 50]]
    sampled = sample(proposals(boxes), [0, 0], [[0, 0, 99, 0], [0, 50, 9, 50]], [1, 2])
    assert sampled.labels.tolist() == [1, 2, 1, 1, 1, 2, 2, 9, 9]
    assert sampled.rois[:, 3].tolist()[-2:] == [69, 5]


def test_images_stay_apart_and_objects_stand_in_for_proposals():
    found = proposals([[0, 0, 9, 9], [20, 20, 29, 29], [0, 0, 9, 9]], images=[0, 0, 2])
    sampled = sample(
        found, [0, 1, 3], [[0, 0, 9, 9], [5, 5, 8, 8], [1, 1, 2, 2]], [1, 2, 3], num_images=4
    )
    # Image 2 has no object; images 1 and 3 no proposal, so their objects are there twice.
    assert sampled.rois[:, 0].tolist() == [0, 0, 0, 1, 1, 2, 3, 3]
    assert sampled.labels.tolist() == [1, 1, 9, 2, 2, 9, 3, 3]


def test_nothing_at_all():
    sampled = sample(proposals([]), [], [], [], num_images=2)
    assert sampled.rois.shape == (0, 5)
    assert len(sampled.labels) == len(sampled.is_gt) == 0


def test_all_pass_where_none_does():
    grouping = torch.tensor([0.1, 0.2, 0.19, 0.05, 0.1])
    images = torch.tensor([0, 0, 0, 2, 2])
    assert passing(grouping, images, 3, 0.2).tolist() == [False, True, False, True, True]


def test_fused_scores():
    corner, prob = torch.tensor([0.0, 1.0, 0.5]), torch.tensor([0.0, 1.0, 0.0])
    torch.testing.assert_close(fuse_scores(corner, prob), torch.tensor([0.0, 2.0, 0.25]))


def pairs(boxes, scores, labels) -> CornerPairs:
    scores = torch.tensor(scores)
    return CornerPairs(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        scores,
        scores[:, None].repeat(1, 2),
        torch.tensor(labels).long(),
    )


PLAIN = pairs([[0, 0, 9, 9], [20, 0, 29, 9], [50, 50, 59, 59]], [0.9, 0.8, 0.7], [1, 1, 2])
FLIPPED = pairs([[0, 0, 9, 4], [20, 0, 29, 1], [50, 50, 59, 59]], [0.6, 0.5, 0.4], [1, 1, 3])


def test_support_by_hand(monkeypatch):
    """Half of a box with + 1; a fifth, which is too little; the same box of another class."""
    torch.testing.assert_close(flip_support(PLAIN, FLIPPED), torch.tensor([0.5, 0, 0]))
    torch.testing.assert_close(
        flip_support(PLAIN, FLIPPED, plus_one=False, min_iou=0.1),
        torch.tensor([4 / 9, 1 / 9, 0]),
    )
    monkeypatch.setattr("mmext.detection.cpn.decode._ROWS_AT_ONCE", 2)
    torch.testing.assert_close(flip_support(PLAIN, FLIPPED), torch.tensor([0.5, 0, 0]))


def test_both_views_are_boosted_once_and_from_what_they_had():
    settings = dict(nms=dict(min_score=0.0), max_per_img=10)
    found = detect([PLAIN, FLIPPED], [False, True], flip_consistency=dict(min_iou=0.3), **settings)
    decay = torch.exp(torch.tensor(-(0.5**2) / 0.5))
    boosted = [0.9 * 1.5, 0.6 * 1.5 * decay, 0.8, 0.7, 0.5 * torch.exp(torch.tensor(-0.08)), 0.4]
    torch.testing.assert_close(found.scores.sort().values, torch.tensor(boosted).sort().values)
    plain = detect([PLAIN, FLIPPED], [False, True], flip_consistency=None, **settings)
    assert plain.scores[0] == PLAIN.scores[0]
    single = detect([PLAIN], [False], flip_consistency=dict(), **settings)
    assert torch.equal(single.scores, PLAIN.scores)


def test_what_has_no_score_supports_nothing():
    silent = PLAIN._replace(scores=torch.tensor([-1.0, 0, -0.5]))
    assert len(pool_views([silent, FLIPPED]).scores) == 3
    found = detect(
        [PLAIN, silent], [False, True], flip_consistency=dict(), nms=dict(), max_per_img=10
    )
    assert torch.equal(found.scores, PLAIN.scores)


def test_the_best_hundred_over_all_classes():
    corner = torch.arange(150.0)[:, None] * 40
    many = pairs(
        torch.cat((corner, corner, corner + 9, corner + 9), 1).tolist(),
        torch.linspace(0.2, 1.7, 150).tolist(),
        (torch.arange(150) % 3).tolist(),
    )
    for legacy in (False, True):
        found = detect(
            [many], [False], flip_consistency=None, nms=dict(legacy=legacy), max_per_img=100
        )
        torch.testing.assert_close(found.scores, many.scores.flip(0)[:100])


def test_legacy_suppression_has_one_convention():
    with pytest.raises(ValueError, match="legacy_plus_one=True"):
        detect(
            [PLAIN],
            [False],
            flip_consistency=None,
            nms=dict(legacy=True),
            max_per_img=9,
            plus_one=False,
        )
