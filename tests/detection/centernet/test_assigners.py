import pytest
import torch
from mmdet.models.task_modules.assigners import ATSSAssigner, PointAssigner
from mmengine.structures import InstanceData

from mmext.detection.centernet import CandidateATSSAssigner, NearestPointAssigner


def cells(strides=(8, 16, 32), size=256):
    rows = []
    for stride in strides:
        axis = torch.arange(0, size, stride).float()
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        rows.append(torch.stack((x, y, torch.full_like(x, stride)), -1).view(-1, 3))
    return torch.cat(rows)


@pytest.mark.parametrize("seed", range(5))
def test_equals_mmdet_point_assigner(seed):
    torch.manual_seed(seed)
    corner = torch.rand(60, 2) * 220
    boxes = torch.cat((corner, corner + torch.rand(60, 2) ** 3 * 200 + 0.5), 1)
    gt = InstanceData(bboxes=boxes, labels=torch.randint(0, 5, (60,)))
    pred = InstanceData(priors=cells())
    expected = PointAssigner(scale=4, pos_num=1).assign(pred, gt)
    result = NearestPointAssigner(scale=4).assign(pred, gt)
    assert (result.gt_inds > 0).sum() > 30
    assert torch.equal(result.gt_inds, expected.gt_inds)
    assert torch.equal(result.labels, expected.labels)


def test_a_shared_cell_goes_to_the_nearer_box():
    gt = InstanceData(
        bboxes=torch.tensor([[80.0, 80, 114, 112], [80.0, 80, 113, 112]]),
        labels=torch.tensor([3, 4]),
    )
    result = NearestPointAssigner().assign(InstanceData(priors=cells()), gt)
    assert result.gt_inds[result.gt_inds > 0].tolist() == [2]
    assert result.labels[result.gt_inds > 0].tolist() == [4]


def test_size_chooses_the_level():
    sizes = torch.tensor([2.0, 32.0, 63.0, 64.0, 128.0, 900.0])
    levels = []
    for size in sizes:
        box = torch.tensor([[128 - size / 2, 128 - size / 2, 128 + size / 2, 128 + size / 2]])
        gt = InstanceData(bboxes=box, labels=torch.tensor([0]))
        result = NearestPointAssigner(scale=4).assign(InstanceData(priors=cells()), gt)
        levels.append(int(cells()[result.gt_inds > 0, 2]))
    assert levels == [8, 8, 8, 16, 32, 32]


def test_nothing_to_assign():
    none = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    result = NearestPointAssigner().assign(InstanceData(priors=cells()), none)
    assert not result.gt_inds.any()
    assert (result.labels == -1).all()
    one = InstanceData(bboxes=torch.tensor([[0.0, 0, 9, 9]]), labels=torch.tensor([0]))
    assert len(NearestPointAssigner().assign(InstanceData(priors=cells()[:0]), one).gt_inds) == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [[1024, 256, 64], [1339, 4, 1]])
def test_equals_mmdet_atss(seed, sizes):
    torch.manual_seed(seed)
    corner = torch.rand(60, 2) * 200
    boxes = torch.cat((corner, corner + torch.rand(60, 2) * 80 + 1), 1)
    gt = InstanceData(bboxes=boxes, labels=torch.randint(0, 5, (60,)))
    points = cells()
    spread = points[:, 2:] * (1 + torch.randn(len(points), 4))
    pred = InstanceData(priors=points[:, [0, 1, 0, 1]] + spread * torch.tensor([-1, -1, 1, 1]))
    expected = ATSSAssigner(topk=9).assign(pred, sizes, gt)
    result = CandidateATSSAssigner(topk=9).assign(pred, sizes, gt)
    assert (expected.gt_inds > 0).sum() > 50
    assert torch.equal(result.gt_inds, expected.gt_inds)
    assert torch.equal(result.labels, expected.labels)


def test_atss_needs_the_centre_inside_and_prefers_the_higher_iou():
    far = [[100.0, 0, 110, 10], [200, 0, 210, 10], [300, 0, 310, 10]]
    priors = InstanceData(priors=torch.tensor([[0.0, 0, 10, 10], *far]))

    def assigned(*boxes):
        gt = InstanceData(bboxes=torch.tensor(boxes), labels=torch.arange(len(boxes)))
        return CandidateATSSAssigner(topk=4).assign(priors, [4], gt).gt_inds.tolist()

    assert assigned([0.0, 0, 10, 12], [0.0, 0, 10, 11]) == [2, 0, 0, 0]
    assert assigned([0.0, 0, 5.1, 10]) == [1, 0, 0, 0]
    assert assigned([0.0, 0, 5.0, 10]) == [0, 0, 0, 0]  # the centre lies on the border


def test_atss_without_boxes():
    none = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
    priors = InstanceData(priors=torch.rand(6, 4))
    result = CandidateATSSAssigner().assign(priors, [4, 2], none)
    assert not result.gt_inds.any()
    assert (result.labels == -1).all()
