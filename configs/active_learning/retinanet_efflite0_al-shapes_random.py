"""Active learning on shapes, random selection: what every other selection is compared with.

python tools/dataset_converters/al_shapes.py
python tools/train.py configs/active_learning/retinanet_efflite0_al-shapes_random.py

mmdet's RetinaNet on EfficientNet-Lite0, for a CPU. Of a pool of 600 images 30 are labelled at
first, 5 %; in each of four cycles the detector is trained anew, then 30 more are labelled. Seven of
ten images teach little. Further seeds: ``--cfg-options randomness.seed=1``.
"""

_base_ = [
    "../_base_/models/retinanet_efflite0.py",
    "../_base_/datasets/al_shapes_detection.py",
    "../_base_/default_runtime.py",
]

model = dict(bbox_head=dict(num_classes=5, anchor_generator=dict(ratios=[1.0])))

train_cfg = dict(
    type="mmext.ActiveLearningLoop",
    cycles=4,
    budget=dict(initial=30, step=30),
    # As many passes as MI-AOD makes over the labelled images, counted as two epochs.
    phases=[dict(name="train", epochs=2, repeat=13)],
    acquisition=dict(type="mmext.Random"),
    scoring=dict(batch_size=16),
)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
    clip_grad=dict(max_norm=10, norm_type=2),
)
# Of each phase, however long it is.
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(
        type="CosineAnnealingLR",
        by_epoch=True,
        T_max=2,
        eta_min_ratio=0.01,
        convert_to_iter_based=True,
    ),
]
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=20),
    # The loop keeps the model of each cycle; these are to go on from.
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=100, max_keep_ckpts=1),
)
log_processor = dict(type="LogProcessor", window_size=20, by_epoch=False)
randomness = dict(seed=0)
