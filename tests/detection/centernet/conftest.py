"""A small real-time head."""

from collections.abc import Callable

import pytest
import torch
from mmengine.registry import init_default_scope

from mmext.registry import MODELS

TRAIN_CFG = dict(
    init=dict(assigner=dict(type="mmext.NearestPointAssigner", scale=4)),
    refine=dict(assigner=dict(type="mmext.CandidateATSSAssigner", topk=9)),
)
TEST_CFG = dict(
    nms_pre=1000,
    score_thr=0.05,
    quarter_nms=dict(type="nms", iou_threshold=0.6),
    max_per_branch=100,
    grouping=dict(distance_threshold=0.5),
    nms=dict(type="soft_nms", iou_threshold=0.6, min_score=1e-3, method="linear"),
    max_per_img=100,
)


@pytest.fixture
def make_head() -> Callable:
    """Build a head with 32 channels; keyword arguments go to its constructor."""

    def make(**kwargs):
        init_default_scope("mmdet")
        settings = dict(
            type="mmext.CenterNetPlusPlusFastHead",
            num_classes=5,
            in_channels=32,
            feat_channels=32,
            point_feat_channels=32,
            strides=[8, 16, 32],
            train_cfg=TRAIN_CFG,
            test_cfg=TEST_CFG,
        )
        torch.manual_seed(0)
        head = MODELS.build(settings | kwargs)
        head.init_weights()
        return head

    return make


@pytest.fixture
def meta() -> dict:
    """Meta information of a 128 x 160 image that was enlarged twice."""
    return dict(img_shape=(128, 160), pad_shape=(128, 160), scale_factor=(2.0, 2.0))
