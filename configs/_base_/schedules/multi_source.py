"""Collaborative learning from several sources (He et al., CVPR 2021): 120,000 iterations.

The authors' settings are not published; these are the ones of the field.
"""

max_iters = 120_000

optim_wrapper = dict(
    constructor="mmext.MultiOptimWrapperConstructor",
    segmentor=dict(
        optimizer=dict(type="SGD", lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
        paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10))),
    ),
)
param_scheduler = [dict(type="PolyLR", power=0.9, begin=0, end=max_iters, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=10_000)
