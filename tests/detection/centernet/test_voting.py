import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData

from mmext.detection.centernet import CenterNetPlusPlusTTA
from mmext.detection.centernet.voting import vote_boxes


def vote_one_by_one(boxes, scores, labels, iou_threshold, score_thr):
    """The same, group by group."""
    found = []
    for label in labels.unique().tolist():
        of_class = labels == label
        rest = torch.cat((boxes[of_class], scores[of_class, None]), 1)
        rest = rest[rest[:, 4].argsort(descending=True)]
        while len(rest):
            iou = bbox_overlaps(rest[:1, :4], rest[:, :4])[0]
            group = iou >= iou_threshold
            group[0] = True
            members, overlaps = rest[group], iou[group]
            rest = rest[~group]
            if len(members) == 1:
                found.append([*members[0].tolist(), label])
                continue
            weights = members[:, 4:]
            mean = (members[:, :4] * weights).sum(0) / weights.sum()
            found.append([*mean.tolist(), float(weights.max()), label])
            for member, overlap in zip(members[1:], overlaps[1:], strict=True):
                score = float(member[4] * (1 - overlap))
                if score >= score_thr:
                    found.append([*member[:4].tolist(), score, label])
    return torch.tensor(sorted(found, key=lambda row: -row[4]))


@pytest.mark.parametrize("seed", range(5))
def test_voting_equals_group_by_group(seed):
    torch.manual_seed(seed)
    corner = torch.rand(40, 2) * 60
    boxes = torch.cat((corner, corner + 15 + torch.rand(40, 2) * 20), 1).repeat(6, 1)
    boxes += torch.randn(240, 4) * 1.5
    scores, labels = torch.rand(240), torch.randint(0, 3, (240,))
    merged, merged_scores, merged_labels = vote_boxes(boxes, scores, labels)
    expected = vote_one_by_one(boxes, scores, labels, 0.66, 0.05)
    assert 0 < len(expected) < 240
    result = torch.cat((merged, merged_scores[:, None], merged_labels[:, None].float()), 1)
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_a_group_becomes_its_mean_and_keeps_lowered_members():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [50, 50, 60, 60]])
    merged, scores, labels = vote_boxes(
        boxes, torch.tensor([0.6, 0.4, 0.3]), torch.tensor([2, 2, 2])
    )
    torch.testing.assert_close(
        merged, torch.tensor([[0, 0, 10, 9.2], [50, 50, 60, 60], [0, 0, 10, 8]])
    )
    torch.testing.assert_close(scores, torch.tensor([0.6, 0.3, 0.4 * 0.2]))
    assert labels.tolist() == [2, 2, 2]
    assert len(vote_boxes(boxes, torch.tensor([0.6, 0.2, 0.3]), labels)[0]) == 2  # 0.04 < 0.05


def test_the_only_box_of_a_class_stays():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    merged, scores, labels = vote_boxes(boxes, torch.tensor([0.3, 0.9]), torch.tensor([0, 1]))
    assert torch.equal(merged, boxes)
    assert scores.tolist() == pytest.approx([0.9, 0.3])
    assert labels.tolist() == [1, 0]


def test_none_and_boxes_without_area():
    empty = vote_boxes(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
    assert [len(part) for part in empty] == [0, 0, 0]
    points = torch.tensor([[5.0, 5, 5, 5], [5, 5, 5, 5]])
    merged, scores, _ = vote_boxes(points, torch.tensor([0.5, 0.0]), torch.zeros(2).long())
    assert torch.equal(merged, points)
    assert scores.isfinite().all()


class Detector(torch.nn.Module):
    """Stands for the detector, whose predictions the tests write themselves."""

    def test_step(self, data):
        raise NotImplementedError


@pytest.fixture
def tta(make_full_head):
    make_full_head()  # sets the scope

    def make(ranges, max_per_img=100):
        return CenterNetPlusPlusTTA(
            tta_cfg=dict(
                scale_ranges=ranges, iou_threshold=0.66, score_thr=0.05, max_per_img=max_per_img
            ),
            module=Detector(),
        )

    return make


def view(boxes, scores, *, flip=False):
    meta = dict(ori_shape=(100, 200), flip=flip, flip_direction="horizontal" if flip else None)
    sample = DetDataSample(metainfo=meta)
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float32),
        labels=torch.zeros(len(scores), dtype=torch.long),
    )
    return sample


def test_views_keep_the_sizes_of_their_scale_and_are_turned_back(tta):
    small, edge, large = [0, 0, 10, 10], [50, 0, 70, 20], [80, 0, 120, 40]
    mirrored = [[190, 0, 200, 10], [130, 0, 150, 20], [80, 0, 120, 40]]
    views = [
        view([small, edge, large], [0.9, 0.8, 0.7]),
        view(mirrored, [0.6, 0.5, 0.4], flip=True),
        view([small, edge, large], [0.95, 0.85, 0.75]),
        view(mirrored, [0.65, 0.55, 0.45], flip=True),
    ]
    # Sides of 10, 20 and 40 px; both ends of a range are included.
    (merged,) = tta([(20, None), (0, 20)]).merge_preds([views])
    result = merged.pred_instances
    order = result.bboxes[:, 0].argsort()
    expected = torch.tensor([small, edge, large], dtype=torch.float32)
    torch.testing.assert_close(result.bboxes[order], expected)
    torch.testing.assert_close(result.scores[order], torch.tensor([0.95, 0.85, 0.7]))


def test_the_best_are_kept_and_none_is_fine(tta):
    views = [view([[0, 0, 10, 10], [50, 0, 70, 20]], [0.5, 0.9])]
    (merged,) = tta([(0, None)], max_per_img=1).merge_preds([views])
    assert merged.pred_instances.bboxes.tolist() == [[50, 0, 70, 20]]
    (merged,) = tta([(0, None)]).merge_preds([[view([], [])]])
    assert merged.pred_instances.bboxes.shape == (0, 4)


def test_scales_that_do_not_fit_the_views_are_refused(tta):
    views = [view([], []) for _ in range(3)]
    with pytest.raises(ValueError, match=r"scale_ranges has 2 entries for 3 views"):
        tta([(0, None), (0, None)]).merge_preds([views])
