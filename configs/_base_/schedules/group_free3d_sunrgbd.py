"""The recipe of Group-Free-3D for SUN RGB-D: 600 epochs in batches of 32, AdamW.

The official schedule counts from -1 (its warm-up, switched off): it decays an epoch later than its
options say, and so does this one.
"""

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=0.004, weight_decay=1e-8),
    # Everything of the decoder but the prediction heads.
    paramwise_cfg=dict(custom_keys=dict(decoder=dict(lr_mult=0.05))),
    clip_grad=dict(max_norm=0.1, norm_type=2),
)
param_scheduler = dict(type="MultiStepLR", by_epoch=True, milestones=[421, 481, 541], gamma=0.1)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=600, val_interval=10)
auto_scale_lr = dict(enable=False, base_batch_size=32)
randomness = dict(seed=0)
