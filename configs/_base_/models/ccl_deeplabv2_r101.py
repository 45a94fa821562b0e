"""Collaborative consistency learning (arXiv 2106.03418) with DeepLab-v2 ResNet-101, 19 classes.

A reconstruction: see ``mmext.MultiTargetAdaptation``. Learning rates and ``lambda_adv`` are usual
in this field, schedule and other weights are ours. ``lambda_weights`` is right where the log's
``loss_weights`` is a hundredth to a thousandth of ``loss_ce``.
"""

_base_ = ["deeplabv2_r101.py"]

max_iters = 120_000
warmup_iters = 20_000

model = dict(
    _delete_=True,
    type="mmext.MultiTargetAdaptation",
    segmentor={{_base_.model}},
    targets=["cityscapes", "idd", "mapillary"],
    discriminator=dict(type="mmext.OutputDiscriminator", num_classes=19),
    bridge=dict(type="mmext.LABBridge"),
    warmup_iters=warmup_iters,
    ramp_iters=(max_iters - warmup_iters) // 10,
    lambda_adv=0.001,
    lambda_consistency=1.0,
    lambda_distillation=1.0,
    lambda_weights=1000.0,
)

network = dict(
    optimizer=dict(type="SGD", lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10))),
)
optim_wrapper = dict(
    constructor="mmext.MultiOptimWrapperConstructor",
    segmentor=network,
    experts=network,
    discriminators=dict(optimizer=dict(type="Adam", lr=1e-4, betas=(0.9, 0.99))),
)
param_scheduler = [dict(type="PolyLR", power=0.9, begin=0, end=max_iters, by_epoch=False)]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=20_000)
