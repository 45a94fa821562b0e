"""Real-time CenterNet++ with a ResNet-50 on five levels, 36 epochs of SGD.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train: python tools/train.py configs/centernetpp/centernetpp-fast_r50_fpn-gn_4x_coco.py
    (8 GPUs: tools/dist_train.sh CONFIG 8)
Paper's figure: none for this one; see the three-level configuration with AdamW.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = ["../_base_/datasets/coco_detection.py", "../_base_/default_runtime.py"]

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
        type="mmext.CenterNetPlusPlusFastHead",
        num_classes=80,
        in_channels=256,
        feat_channels=256,
        point_feat_channels=256,
        stacked_convs=1,
        shared_stacked_convs=1,
        strides=[8, 16, 32, 64, 128],
        num_points=9,
        dcn_cfg=dict(type="mmext.DCNv2", deform_groups=1),
        norm_cfg=norm_cfg,
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_pts_init=dict(type="mmext.PlusOneGIoULoss", loss_weight=1.0),
        loss_pts_refine=dict(type="mmext.PlusOneGIoULoss", loss_weight=2.0),
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
        grouping=dict(distance_threshold=0.5),
        nms=dict(type="soft_nms", iou_threshold=0.6, min_score=1e-3, method="linear"),
        max_per_img=100,
    ),
)

train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=_base_.backend_args),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=[(900, 256), (900, 608)], keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile", backend_args=_base_.backend_args),
    dict(type="Resize", scale=(736, 512), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

max_epochs = 36
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
        milestones=[30, 34],
        gamma=0.1,
    ),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
