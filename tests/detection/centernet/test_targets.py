import torch
from mmengine.structures import InstanceData

from mmext.detection.centernet import NearestPointAssigner
from mmext.detection.centernet.targets import quarter_targets, semantic_weights


def instances(boxes, labels):
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
    )


def test_semantic_map_by_painting():
    """The maximum of inverse areas equals painting from the largest to the smallest box."""
    torch.manual_seed(0)
    corner = (torch.rand(40, 2) * 200).round()
    boxes = torch.cat((corner, corner + 3 + torch.rand(40, 2) * 90), 1)
    labels = torch.randint(0, 3, (40,))
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    painted = torch.zeros(3, 32, 40)
    for k in areas.argsort(descending=True):
        x1, y1, x2, y2 = (int(v / 8) for v in boxes[k])
        painted[labels[k], y1 : y2 + 1, x1 : x2 + 1] = 1 / areas[k]
    gt = InstanceData(bboxes=boxes, labels=labels)
    torch.testing.assert_close(semantic_weights([gt], 3, (32, 40), 8)[0], painted)


def test_semantic_map_of_boxes_outside_and_of_no_box():
    outside = instances([[-50, -50, -3, -3], [900, 0, 990, 40], [-8, -8, 7, 7]], [0, 0, 1])
    maps = semantic_weights([outside, instances([], [])], 2, (4, 4), 8)
    assert maps[0, 0].count_nonzero() == 0
    assert maps[0, 1].nonzero().tolist() == [[0, 0]]
    assert maps[1].count_nonzero() == 0


def test_cells_in_the_padding_get_nothing_and_every_image_counts():
    grid = torch.tensor([[x, y, 8.0] for y in (0.0, 8.0) for x in (0.0, 8.0, 16.0)])
    valid = torch.ones(3, 6, dtype=torch.bool)
    valid[1, [2, 5]] = False  # the right column is padding in image 1
    box, label = torch.tensor([[12.0, 0.0, 20.0, 16.0]]), torch.tensor([1])
    empty, no_label = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    targets = quarter_targets(
        NearestPointAssigner(),
        grid.expand(3, -1, -1),
        valid,
        [6],
        [box, box, empty],
        [label, label, no_label],
        num_classes=2,
    )
    assert targets.labels[0].tolist() == [2, 2, 2, 2, 2, 1]
    assert targets.labels[1].tolist() == [2, 2, 2, 2, 1, 2]
    assert (targets.labels[2] == 2).all()
    assert torch.equal(targets.boxes[0, 5], box[0])
    assert targets.num_pos == 3  # the image without boxes counts one
