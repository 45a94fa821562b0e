"""Small heads of CenterNet++."""

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
FULL_TEST_CFG = TEST_CFG | dict(nms=dict(type="nms", iou_threshold=0.6))


def _make(**settings):
    init_default_scope("mmdet")
    common = dict(
        num_classes=5,
        in_channels=32,
        feat_channels=32,
        point_feat_channels=32,
        strides=[8, 16, 32],
        train_cfg=TRAIN_CFG,
    )
    torch.manual_seed(0)
    head = MODELS.build(common | settings)
    head.init_weights()
    return head


@pytest.fixture
def make_head() -> Callable:
    """Build a real-time head with 32 channels; keyword arguments go to its constructor."""

    def make(**kwargs):
        return _make(**dict(type="mmext.CenterNetPlusPlusFastHead", test_cfg=TEST_CFG) | kwargs)

    return make


@pytest.fixture
def make_full_head() -> Callable:
    """Build a full head with 32 channels and one layer per tower."""

    def make(**kwargs):
        settings = dict(
            type="mmext.CenterNetPlusPlusHead",
            test_cfg=FULL_TEST_CFG,
            stacked_convs=1,
            corner_dim=32,
        )
        return _make(**settings | kwargs)

    return make


@pytest.fixture
def meta() -> dict:
    """Meta information of a 128 x 160 image that was enlarged twice."""
    return dict(img_shape=(128, 160), pad_shape=(128, 160), scale_factor=(2.0, 2.0))
