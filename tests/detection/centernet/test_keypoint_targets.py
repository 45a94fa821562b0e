import math

import pytest
import torch
from mmdet.models.utils import gaussian_radius as radius_of_mmdet
from mmengine.structures import InstanceData

from mmext.detection.centernet.keypoint_targets import gaussian_radius, keypoint_targets

SHAPES, STRIDES = [(12, 16), (6, 8), (1, 1)], [8, 16, 128]
CELLS = 12 * 16 + 6 * 8 + 1


def instances(boxes):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).view(-1, 4)
    return InstanceData(bboxes=boxes)


def targets_of(*images, valid=None):
    valid = torch.ones(len(images), CELLS, dtype=torch.bool) if valid is None else valid
    return keypoint_targets([instances(boxes) for boxes in images], SHAPES, STRIDES, valid)


def test_radius_is_that_of_mmdet():
    wh = torch.rand(50, 2, dtype=torch.float64) * 300 + 1
    expected = [radius_of_mmdet((h, w), 0.7) for w, h in wh.tolist()]
    torch.testing.assert_close(gaussian_radius(wh, 0.7), torch.tensor(expected).double())


def test_radius_of_a_long_thin_box_keeps_its_digits():
    wh = torch.tensor([[8000.0, 0.5]])
    expected = gaussian_radius(wh.double(), 0.7).float()
    torch.testing.assert_close(gaussian_radius(wh, 0.7), expected, rtol=1e-5, atol=0)


def dense(boxes, limits):
    """Heat and offsets of one image, key point by key point on whole maps."""
    heat, offset = [], []
    for (height, width), stride, (last_y, last_x) in zip(SHAPES, STRIDES, limits, strict=True):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        inside = (y <= last_y) & (x <= last_x)
        level = torch.zeros(height, width, 3)
        shift = torch.zeros(height, width, 3, 2)
        for x1, y1, x2, y2 in boxes.tolist():
            radius = radius_of_mmdet((y2 - y1, x2 - x1), 0.7)
            for k, (px, py) in enumerate([(x1, y1), (x2, y2), ((x1 + x2) / 2, (y1 + y2) / 2)]):
                squared = (x * stride - px) ** 2 + (y * stride - py) ** 2
                value = (-squared / (2 * ((2 * radius + 1) / 6) ** 2)).exp()
                value[(squared >= radius**2) | ~inside] = 0
                level[..., k] = level[..., k].maximum(value)
                nearest = squared.float().masked_fill(~inside, math.inf).argmin()
                row, col = divmod(int(nearest), width)
                level[row, col, k] = 1
                shift[row, col, k] = torch.tensor([px / stride - col, py / stride - row])
        heat.append(level.flatten(0, 1))
        offset.append(shift.flatten(0, 1))
    return torch.cat(heat), torch.cat(offset)


def test_sparse_painting_equals_dense_painting():
    valid = torch.ones(2, CELLS, dtype=torch.bool)
    fine = valid[1, : 12 * 16].view(12, 16)
    fine[10:], fine[:, 13:] = False, False
    coarse = valid[1, 12 * 16 : -1].view(6, 8)
    coarse[5:], coarse[:, 7:] = False, False
    corner = torch.rand(2, 25, 2) * torch.tensor([100.0, 70.0])
    boxes = torch.cat((corner, corner + 2 + torch.rand(2, 25, 2) ** 3 * 200), -1)
    targets = targets_of(*boxes, valid=valid)
    limits = ([(11, 15), (5, 7), (0, 0)], [(9, 12), (4, 6), (0, 0)])
    for i in range(2):
        heat, offset = dense(boxes[i].double(), limits[i])
        torch.testing.assert_close(targets.heat[i], heat, rtol=0, atol=1e-5)
        torch.testing.assert_close(targets.offset[i], offset, rtol=0, atol=1e-5)
    assert torch.equal(targets.positive, targets.heat == 1)


def test_where_key_points_meet_the_last_box_has_the_offset():
    boxes = [[16.0, 16, 60, 60], [17, 18, 80, 80], [15, 17, 90, 90]]
    for order in ([0, 1, 2], [2, 1, 0], [0, 2, 1]):
        ordered = [boxes[i] for i in order]
        targets = targets_of(ordered)
        cell = 2 * 16 + 2
        assert targets.positive[0, cell, 0]
        expected = (torch.tensor(ordered[-1][:2]) - 16) / 8
        assert torch.equal(targets.offset[0, cell, 0], expected)


def test_between_cells_the_first_is_the_nearest():
    targets = targets_of([[20.0, 12.0, 100, 90]])
    assert targets.positive[0, : 12 * 16, 0].nonzero().tolist() == [[1 * 16 + 2]]
    assert targets.offset[0, 1 * 16 + 2, 0].tolist() == [0.5, 0.5]


def test_a_pixel_has_one_cell_per_level_and_map():
    targets = targets_of([[40.0, 40, 41, 41]])
    assert targets.heat.count_nonzero() == targets.positive.sum() == 3 * 3
    assert targets.num_pos.tolist() == [3, 3, 3]


@pytest.mark.parametrize("box", [[-1e4, -1e4, 1e4, 1e4], [500, 500, 600, 700], [-9, -9, -2, -3]])
def test_boxes_beyond_the_image_stay_on_the_maps(box):
    targets = targets_of([box])
    assert targets.heat.isfinite().all()
    assert targets.offset.isfinite().all()
    assert targets.positive.sum((0, 1)).tolist() == [3, 3, 3]


def test_an_image_without_boxes_counts_one():
    targets = targets_of([], [[10, 10, 60, 60]])
    assert targets.heat[0].count_nonzero() == 0
    assert targets.num_pos.tolist() == [4, 4, 4]
    assert targets_of([]).num_pos.tolist() == [1, 1, 1]


def test_two_thousand_boxes():
    corner = torch.rand(2000, 2) * 100
    boxes = torch.cat((corner, corner + 1 + torch.rand(2000, 2) * 20), 1)
    targets = targets_of(boxes)
    assert targets.heat.max() == 1
    assert torch.equal(targets.positive, targets.heat == 1)
