"""Campaigns of active learning for minutes of a CPU: random selection, one phase in each cycle.

Who inherits it gives ``train_cfg`` its ``cycles``, ``budget`` and ``phases``. A phase has two
epochs, in which each image is repeated as often as that takes.
"""

_base_ = ["../default_runtime.py"]

train_cfg = dict(type="mmext.ActiveLearningLoop", acquisition=dict(type="mmext.Random"))
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
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=100, max_keep_ckpts=2),
)
log_processor = dict(type="LogProcessor", window_size=20, by_epoch=False)
randomness = dict(seed=0)
