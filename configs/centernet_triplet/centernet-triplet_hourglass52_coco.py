"""CenterNet (key point triplets) with an Hourglass-52, 480,000 iterations of Adam.

Paper: CenterNet: Keypoint Triplets for Object Detection, arXiv 1904.08189.
Train: python tools/train.py configs/centernet_triplet/centernet-triplet_hourglass52_coco.py
    (8 GPUs: tools/dist_train.sh CONFIG 8)
Test: python tools/test.py CONFIG CHECKPOINT --tta, which adds the flipped image as the authors do.
Paper's figure: 41.6 AP on test-dev, with the flipped image.
Hardware: written for 8 GPUs with 6 images each; with another batch add --auto-scale-lr.
"""

_base_ = ["../_base_/datasets/coco_keypoints.py", "../_base_/default_runtime.py"]

model = dict(
    type="mmext.CenterNetTriplet",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        # BGR, as the authors' weights expect it.
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
        type="mmext.CenterNetTripletHead",
        num_classes=80,
        in_channels=256,
        feat_channels=256,
        pool_channels=128,
        num_stacks=1,
        radius_form="legacy",
        loss_heatmap=dict(type="GaussianFocalLoss", alpha=2.0, gamma=4.0),
        loss_embedding=dict(type="mmext.PullPushLoss", pull_weight=0.1, push_weight=0.1),
        loss_offset=dict(type="SmoothL1Loss", beta=1.0),
    ),
    test_cfg=dict(
        num_peaks=70,
        kernel=3,
        max_tag_distance=0.5,
        num_pairs=1000,
        center_check=dict(small_area=22500, small_parts=3, large_parts=5),
        nms=dict(method="gaussian", sigma=0.5, min_score=1e-3),
        max_per_img=100,
    ),
)

tta_model = dict(type="mmext.CenterNetTripletTTA")

max_iters = 480000
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=20000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="Adam", lr=0.00025))
param_scheduler = [
    dict(type="MultiStepLR", begin=0, end=max_iters, by_epoch=False, milestones=[450000], gamma=0.1)
]
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=20000, max_keep_ckpts=3),
)
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(enable=False, base_batch_size=48)
