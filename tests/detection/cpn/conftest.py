"""A small CPN."""

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from mmengine.registry import init_default_scope

from mmext.registry import MODELS

TRAIN_CFG = dict(
    num_peaks=10,
    kernel=3,
    grouping_thr=0.2,
    assigner=dict(type="MaxIoUAssigner", pos_iou_thr=0.7, neg_iou_thr=0.7, min_pos_iou=0.5),
    sampler=dict(type="RandomSampler", num=100, pos_fraction=1.0, add_gt_as_proposals=True),
)
TEST_CFG = dict(
    num_peaks=10,
    kernel=3,
    grouping_thr=0.2,
    num_pairs=50,
    flip_consistency=dict(min_iou=0.3),
    nms=dict(merge_exponent=10.0),
    max_per_img=10,
)


@pytest.fixture
def make_model() -> Callable:
    """Build a CPN with a small hourglass of some stacks; keyword arguments go to the head."""

    def make(num_stacks: int = 1, **head):
        init_default_scope("mmdet")
        torch.manual_seed(0)
        settings = dict(
            type="mmext.CPNHead",
            num_classes=3,
            in_channels=8,
            feat_channels=8,
            pool_channels=8,
            grouping_channels=4,
            num_stacks=num_stacks,
        )
        model = MODELS.build(
            dict(
                type="mmext.CPN",
                data_preprocessor=dict(type="DetDataPreprocessor"),
                backbone=dict(
                    type="HourglassNet",
                    num_stacks=num_stacks,
                    downsample_times=1,
                    stage_channels=(8, 8),
                    stage_blocks=(1, 1),
                    feat_channel=8,
                ),
                bbox_head=settings | head,
                train_cfg=deepcopy(TRAIN_CFG),
                test_cfg=deepcopy(TEST_CFG),
            )
        )
        model.init_weights()
        return model

    return make
