"""Scenes of two boxes on a floor, and detectors small enough for them."""

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from mmext.detection3d import GroupFree3D
from mmext.detection3d.structures import Boxes3D, Det3DSample
from mmext.ops import points_in_boxes

TINY_BACKBONE = dict(
    type="mmext.PointNet2",
    num_points=(48, 32, 16, 8),
    num_samples=(8, 8, 4, 4),
    radii=(0.4, 0.8, 1.2, 2.0),
    sa_channels=((16, 16), (16, 16), (16, 16), (16, 16)),
    fp_channels=16,
    out_channels=16,
)
TINY_DECODER = dict(num_layers=2, num_heads=2, ffn_channels=32, dropout=0.0)
_FORMS = {
    "scannet": dict(mean_sizes=[[0.8, 0.8, 0.8], [1.0, 0.5, 0.5], [1.0, 1.0, 1.0]]),
    "sunrgbd": dict(num_heading_bins=12),
}


def tiny_detector(
    form: str = "scannet", kind: type[GroupFree3D] = GroupFree3D, **options
) -> GroupFree3D:
    """Return a detector of one of the published forms, for three classes."""
    made = dict(
        backbone=TINY_BACKBONE,
        num_classes=3,
        num_candidates=12,
        data_preprocessor=dict(type="BaseDataPreprocessor"),
        **_FORMS[form],
    )
    decoder = dict(decoder={**TINY_DECODER, **options.pop("decoder", {})})
    return kind(**{**made, **decoder, **options})


def tiny_scenes(num_points: int = 256) -> tuple[Tensor, list[Det3DSample]]:
    """Return two rooms with two boxes each, and their ground truth."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, num_points, 3, generator=generator) * torch.tensor([4.0, 4.0, 1.2])
    samples = []
    for scene, cloud in enumerate(points):
        boxes = torch.tensor(
            [[1.0, 1.0, 0.5, 0.9, 0.9, 1.0, 0.3 * scene], [3.0, 2.5 + scene, 0.5, 1.5, 0.8, 1, 0]]
        )
        inside = points_in_boxes(cloud, boxes)
        sample = Det3DSample(metainfo=dict(sample_idx=f"room{scene}"))
        sample.gt_instances_3d = InstanceData(
            bboxes_3d=Boxes3D(boxes), labels_3d=torch.tensor([scene, 2])
        )
        owner = inside.int().argmax(1)
        sample.gt_point_instances = torch.where(inside.any(1), owner, -1)
        samples.append(sample)
    return points, samples
