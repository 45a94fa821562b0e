"""Outputs of CenterNet++ heads that describe given boxes."""

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmext.detection.centernet.quarter_boxes import boxes_to_points, split_boxes


def describe(head, instances: list[InstanceData], size=(128, 160)) -> list:
    """Outputs of ``head`` that predict exactly ``instances``, at one cell of level 0 per box."""
    strides = [s[0] for s in head.prior_generator.strides]
    shapes = [(size[0] // s, size[1] // s) for s in strides]
    batch, classes = len(instances), head.num_classes

    def blank(channels: int, value: float) -> list[Tensor]:
        return [torch.full((batch, channels, *shape), value) for shape in shapes]

    outs = [blank(classes, -8.0), blank(classes, -8.0)]
    outs += [blank(18, 0.0) for _ in range(4)] + [blank(classes, -8.0)]
    stride = strides[0]
    for i, gt in enumerate(instances):
        for side, quarters in enumerate(split_boxes(gt.bboxes)):
            centres = (quarters[:, :2] + quarters[:, 2:]) / 2
            cells = (centres / stride).round().long()
            cells = cells.clamp(min=torch.tensor(0), max=torch.tensor(shapes[0][::-1]) - 1)
            grid = torch.cat((cells * stride, torch.full((len(cells), 1), stride)), 1).float()
            points = boxes_to_points(quarters, grid)
            x, y = cells.unbind(1)
            outs[side][0][i, gt.labels, y, x] = 4.0
            for stage in (2, 4):
                outs[stage + side][0][i, :4, y, x] = points.T
    return outs


def describe_full(head, instances: list[InstanceData], size=(128, 160)) -> list:
    """The same for a full head, with empty heat maps."""
    *outs, sem = describe(head, instances, size)
    shapes = [m.shape[-2:] for m in sem]
    scores = [torch.full((len(instances), 3, *shape), -8.0) for shape in shapes]
    offsets = [torch.zeros(len(instances), 6, *shape) for shape in shapes]
    return [*outs, scores, offsets, sem]
