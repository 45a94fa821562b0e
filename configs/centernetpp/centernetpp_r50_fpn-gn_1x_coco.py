"""CenterNet++ with a ResNet-50, 12 epochs of SGD at one scale.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train: python tools/train.py configs/centernetpp/centernetpp_r50_fpn-gn_1x_coco.py
    (8 GPUs: tools/dist_train.sh CONFIG 8)
Paper's figure: none for this one; see the configuration of 24 epochs.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = [
    "../_base_/datasets/coco_detection.py",
    "../_base_/default_runtime.py",
    "../_base_/centernetpp_tta.py",
]

norm_cfg = dict(type="GN", num_groups=32, requires_grad=True)
model = dict(
    type="mmext.CenterNetPlusPlus",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type="ResNet",
        depth=50,
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
        style="pytorch",
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://download.pytorch.org/models/resnet50-19c8e357.pth",
        ),
    ),
    neck=dict(
        type="FPN",
        in_channels=[256, 512, 1024, 2048],
        out_channels=256,
        start_level=1,
        add_extra_convs="on_input",
        num_outs=5,
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        type="mmext.CenterNetPlusPlusHead",
        num_classes=80,
        in_channels=256,
        feat_channels=256,
        point_feat_channels=256,
        stacked_convs=3,
        shared_stacked_convs=1,
        corner_dim=64,
        strides=[8, 16, 32, 64, 128],
        num_points=9,
        gradient_mul=0.1,
        dcn_cfg=dict(type="mmext.DCNv2", deform_groups=1),
        norm_cfg=norm_cfg,
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_pts_init=dict(type="mmext.PlusOneGIoULoss", loss_weight=1.0),
        loss_pts_refine=dict(type="mmext.PlusOneGIoULoss", loss_weight=2.0),
        loss_heatmap=dict(type="GaussianFocalLoss", alpha=2.0, gamma=4.0, loss_weight=0.25),
        loss_offset=dict(type="SmoothL1Loss", beta=1 / 9, loss_weight=1.0),
        loss_sem=dict(type="mmext.SeparateFocalLoss", gamma=2.0, alpha=0.25, loss_weight=0.1),
    ),
    train_cfg=dict(
        init=dict(assigner=dict(type="mmext.NearestPointAssigner", scale=4)),
        refine=dict(assigner=dict(type="mmext.CandidateATSSAssigner", topk=9)),
    ),
    test_cfg=dict(
        nms_pre=1000,
        score_thr=0.05,
        quarter_nms=dict(type="nms", iou_threshold=0.6),
        max_per_branch=100,
        # As the official code has it. The paper's text: dict(distance_threshold=0.5,
        # small_ratio=1 / 3, large_ratio=1 / 5, large_area=150**2) and score_fusion="triplet".
        grouping=dict(distance_threshold=0.5),
        score_fusion="pair",
        nms=dict(type="nms", iou_threshold=0.6),
        max_per_img=100,
    ),
)

max_epochs = 12
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=0.0001),
    clip_grad=dict(max_norm=35, norm_type=2),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR",
        begin=0,
        end=max_epochs,
        by_epoch=True,
        milestones=[8, 11],
        gamma=0.1,
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
