"""Small MI-AOD heads and batches."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmext.registry import MODELS

RETINA = dict(
    type="mmext.MIAODRetinaHead",
    num_classes=4,
    in_channels=6,
    feat_channels=6,
    stacked_convs=2,
    anchor_generator=dict(
        type="AnchorGenerator",
        octave_base_scale=4,
        scales_per_octave=3,
        ratios=[0.5, 1.0, 2.0],
        strides=[8, 16, 32],
    ),
    bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
    loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25),
    loss_bbox=dict(type="L1Loss"),
    train_cfg=dict(
        assigner=dict(
            type="MaxIoUAssigner",
            pos_iou_thr=0.5,
            neg_iou_thr=0.4,
            min_pos_iou=0,
            ignore_iof_thr=-1,
        ),
        sampler=dict(type="PseudoSampler"),
        allowed_border=-1,
        pos_weight=-1,
    ),
    test_cfg=dict(
        nms_pre=100, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.5), max_per_img=20
    ),
)
SSD = dict(
    type="mmext.MIAODSSDHead",
    num_classes=3,
    in_channels=(6, 5, 4, 4, 3, 3),
    anchor_generator=dict(
        type="SSDAnchorGenerator",
        scale_major=False,
        input_size=300,
        basesize_ratio_range=(0.2, 0.9),
        strides=[8, 16, 32, 64, 100, 300],
        ratios=[[2], [2, 3], [2, 3], [2, 3], [2], [2]],
    ),
    bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_stds=[0.1, 0.1, 0.2, 0.2]),
    train_cfg=dict(
        assigner=dict(
            type="MaxIoUAssigner",
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.0,
            ignore_iof_thr=-1,
            gt_max_assign_all=False,
        ),
        sampler=dict(type="PseudoSampler"),
        smoothl1_beta=1.0,
        allowed_border=-1,
        pos_weight=-1,
        neg_pos_ratio=3,
    ),
    test_cfg=dict(
        nms_pre=100, score_thr=0.02, nms=dict(type="nms", iou_threshold=0.45), max_per_img=20
    ),
)
# The children of a RetinaNet head, by branch.
F_1 = ("cls_convs", "retina_cls")
F_2 = ("f_2_cls_convs", "f_2_retina_cls")
F_MIL = ("f_mil_cls_convs", "f_mil_retina_cls")
F_R = ("reg_convs", "retina_reg")
SSD_SIZES = (38, 19, 10, 5, 3, 1)


def build(base: dict, **changes: Any) -> nn.Module:
    """Build a head, with what differs from ``RETINA`` or ``SSD``."""
    init_default_scope("mmdet")
    return MODELS.build(ConfigDict({**base, **changes}))


def with_random_weights(head: nn.Module, seed: int = 0, scale: float = 0.25) -> nn.Module:
    """Draw every parameter from a normal distribution, like the golden files."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return head


def retina_feats(batch: int = 2, channels: int = 6) -> list[Tensor]:
    """Features of images of 64 x 64."""
    return [torch.randn(batch, channels, s, s) for s in (8, 4, 2)]


def ssd_feats(batch: int = 2) -> list[Tensor]:
    """Features of images of 300 x 300."""
    channels = SSD["in_channels"]
    return [torch.randn(batch, c, s, s) for c, s in zip(channels, SSD_SIZES, strict=True)]


def sample(boxes: Sequence | Tensor, labels: Sequence | Tensor, *, size: int = 64) -> DetDataSample:
    """A labelled image; both may be empty."""
    found = DetDataSample(metainfo=dict(img_shape=(size, size), pad_shape=(size, size)))
    found.gt_instances = InstanceData(
        bboxes=torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.as_tensor(labels, dtype=torch.long),
    )
    return found


def unlabeled(size: int = 64, count: int = 2) -> list[DetDataSample]:
    """Images without any annotation."""
    meta = dict(img_shape=(size, size), pad_shape=(size, size), labeled=False)
    return [DetDataSample(metainfo=dict(meta)) for _ in range(count)]


def two_labeled(scale: float = 1.0) -> list[DetDataSample]:
    """Two images with three objects of classes 0, 2 and 1."""
    size = round(64 * scale)
    first = torch.tensor([[4.0, 6.0, 36.0, 40.0], [20.0, 20.0, 60.0, 62.0]]) * scale
    second = torch.tensor([[10.0, 12.0, 30.0, 50.0]]) * scale
    return [sample(first, [0, 2], size=size), sample(second, [1], size=size)]


def total(losses: dict) -> Tensor:
    """The sum that is trained on."""
    return sum(sum(v) if isinstance(v, list) else v for v in losses.values())


def values(losses: dict) -> dict[str, Tensor]:
    """Each loss, summed over what it lists."""
    return {k: (sum(v) if isinstance(v, list) else v).detach().sum() for k, v in losses.items()}


def make(**changes: Any) -> nn.Module:
    """A RetinaNet head with random weights."""
    return with_random_weights(build(RETINA, **changes))


def step(head: nn.Module, stage: str, samples: list, feats: list[Tensor]) -> dict:
    """Losses of a stage, and their gradients in the parameters."""
    head.set_stage(stage)
    head.zero_grad()
    losses = head.loss(feats, samples)
    total(losses).backward()
    return losses


def learning(head: nn.Module) -> set[str]:
    """The children that have a gradient other than zero."""
    return {
        name
        for name, child in head.named_children()
        if any(p.grad is not None and p.grad.any() for p in child.parameters())
    }
