import pytest
import torch
from mmengine.structures import InstanceData

from mmext.detection.keypoints.instances import usable_instances


def instances(boxes, labels):
    return InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
    )


def test_boxes_without_extent_are_left_out():
    gt = instances(
        [[0, 0, 9, 9], [5, 5, 5, 9], [7, 7, 3, 9], [float("nan"), 0, 1, 1]], [0, 1, 2, 3]
    )
    assert usable_instances(gt, 5).labels.tolist() == [0]


@pytest.mark.parametrize("label", [-1, 5])
def test_a_label_outside_the_head_is_named(label):
    with pytest.raises(ValueError, match=r"num_classes") as error:
        usable_instances(instances([[0, 0, 9, 9]], [label]), 5)
    assert str(label) in str(error.value)
