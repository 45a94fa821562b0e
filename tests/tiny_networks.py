"""The detectors of the CenterNet family with few and narrow layers, for tests of whole networks."""

import math

import torch
from mmengine.registry import init_default_scope
from torch import nn

from mmext.engine import import_host
from mmext.registry import MODELS

GN = dict(type="GN", num_groups=4)
QUARTER_NETWORK = dict(
    type="mmext.CenterNetPlusPlus",
    backbone=dict(
        type="ResNet",
        depth=18,
        base_channels=8,
        stem_channels=8,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(1, 2),
    ),
    neck=dict(type="FPN", in_channels=[16, 32], out_channels=16, num_outs=2),
)
QUARTER_HEAD = dict(
    num_classes=3,
    in_channels=16,
    feat_channels=16,
    point_feat_channels=16,
    stacked_convs=1,
    norm_cfg=GN,
    strides=[8, 16],
)
QUARTER_TEST_CFG = dict(
    nms_pre=50,
    score_thr=0.01,
    quarter_nms=dict(type="nms", iou_threshold=0.6),
    max_per_branch=50,
    grouping=dict(),
    nms=dict(type="nms", iou_threshold=0.6),
    max_per_img=50,
)
NETWORKS = {
    "fast": QUARTER_NETWORK
    | dict(
        bbox_head=QUARTER_HEAD | dict(type="mmext.CenterNetPlusPlusFastHead"),
        test_cfg=QUARTER_TEST_CFG,
    ),
    "full": QUARTER_NETWORK
    | dict(
        bbox_head=QUARTER_HEAD | dict(type="mmext.CenterNetPlusPlusHead", corner_dim=8),
        test_cfg=QUARTER_TEST_CFG,
    ),
    "triplet": dict(
        type="mmext.CenterNetTriplet",
        backbone=dict(
            type="HourglassNet",
            downsample_times=2,
            num_stacks=2,
            stage_channels=[16, 16, 24],
            stage_blocks=[1, 1, 1],
            feat_channel=16,
        ),
        bbox_head=dict(
            type="mmext.CenterNetTripletHead",
            num_classes=3,
            in_channels=16,
            feat_channels=16,
            pool_channels=8,
            num_stacks=2,
        ),
    ),
    "cpn": dict(
        type="mmext.CPN",
        backbone=dict(type="mmext.DLA", channels=(4, 4, 8, 8, 12, 16)),
        neck=dict(type="mmext.DLAUp", in_channels=(8, 8, 12, 16)),
        bbox_head=dict(
            type="mmext.CPNHead",
            num_classes=3,
            in_channels=8,
            feat_channels=16,
            pool_channels=8,
            roi_form="dla",
        ),
    ),
}


def tiny_network(name: str) -> nn.Module:
    """Build a detector of ``NETWORKS`` with random weights, the same ones each time.

    All convolutions keep the variance, also those that predict offsets, which therefore are some
    pixels wide.
    """
    import_host("mmdet")
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(NETWORKS[name])
    for weight in model.parameters():
        if weight.ndim == 4:
            nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel()))
    if name in ("fast", "full"):
        # Top-left and bottom-right quarter boxes of some strides, y and x of their two corners.
        for side, box in (("tl", (-2, -2, 0, 0)), ("br", (0, 0, 2, 2))):
            points = model.bbox_head.branches[side].pts_refine_out
            nn.init.normal_(points.weight, std=0.01)
            points.bias.data[:4] = torch.tensor(box)
    return model.eval()
