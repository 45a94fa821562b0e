"""CPN with an Hourglass-52, 270,000 iterations of Adam.

Paper: Corner Proposal Network for Anchor-free, Two-stage Object Detection, arXiv 2007.13816.
Train: python tools/train.py configs/cpn/cpn_hourglass52_coco.py
    (8 GPUs: tools/dist_train.sh CONFIG 8)
Test: python tools/test.py CONFIG CHECKPOINT --tta, which adds the flipped image as the authors do.
Paper's figure: 43.9 AP on test-dev, with the flipped image.
Hardware: written for 8 GPUs with 6 images each; with another batch add --auto-scale-lr.
"""

_base_ = ["../_base_/datasets/coco_keypoints.py", "../_base_/default_runtime.py"]

num_peaks = 70
grouping_thr = 0.2
model = dict(
    type="mmext.CPN",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        # BGR, as weights trained with the official code expect it.
        mean=[104.0136177, 114.0342201, 119.91659325],
        std=[73.6027614, 69.8908182, 70.91507925],
        bgr_to_rgb=False,
    ),
    backbone=dict(
        type="HourglassNet",
        downsample_times=5,
        num_stacks=1,
        stage_channels=[256, 256, 384, 384, 384, 512],
        stage_blocks=[2, 2, 2, 2, 2, 4],
        norm_cfg=dict(type="BN", requires_grad=True),
    ),
    bbox_head=dict(
        type="mmext.CPNHead",
        num_classes=80,
        in_channels=256,
        feat_channels=256,
        pool_channels=128,
        grouping_channels=32,
        num_stacks=1,
        roi_form="hourglass",
        roi_layer=dict(output_size=7, sampling_ratio=2, aligned=False),
        radius_form="legacy",
        legacy_plus_one=True,
        loss_heatmap=dict(type="GaussianFocalLoss", alpha=2.0, gamma=4.0),
        loss_offset=dict(type="SmoothL1Loss", beta=1.0),
        loss_grouping=dict(type="GaussianFocalLoss", alpha=2.0, gamma=4.0),
        loss_region=dict(type="GaussianFocalLoss", alpha=2.0, gamma=4.0),
    ),
    train_cfg=dict(
        num_peaks=num_peaks,
        kernel=3,
        grouping_thr=grouping_thr,
        assigner=dict(
            type="MaxIoUAssigner",
            pos_iou_thr=0.7,
            neg_iou_thr=0.7,
            min_pos_iou=0.5,
            match_low_quality=True,
            gt_max_assign_all=True,
        ),
        # All of them: there are no more pairs than that.
        sampler=dict(
            type="RandomSampler",
            num=num_peaks**2,
            pos_fraction=1.0,
            neg_pos_ub=-1,
            add_gt_as_proposals=True,
        ),
    ),
    test_cfg=dict(
        num_peaks=num_peaks,
        kernel=3,
        grouping_thr=grouping_thr,
        num_pairs=1000,
        flip_consistency=dict(min_iou=0.3),
        nms=dict(method="gaussian", sigma=0.5, min_score=1e-3, merge_exponent=10.0),
        max_per_img=100,
    ),
)

tta_model = dict(type="mmext.CPNTTA")

max_iters = 270000
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=20000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=0.00025))
param_scheduler = [
    dict(type="MultiStepLR", begin=0, end=max_iters, by_epoch=False, milestones=[200000], gamma=0.1)
]
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=20000, max_keep_ckpts=3),
)
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(enable=False, base_batch_size=48)
