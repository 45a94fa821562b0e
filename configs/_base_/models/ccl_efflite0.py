"""Collaborative consistency learning (arXiv 2106.03418) of the small segmentor for a CPU.

A reconstruction: see ``mmext.MultiTargetAdaptation``. The weights are those of the text or ours.
"""

_base_ = ["bdl_efflite0.py"]

max_iters = 400
warmup_iters = 150

model = dict(
    _delete_=True,
    type="mmext.MultiTargetAdaptation",
    segmentor={{_base_.model.segmentor}},
    targets=["day", "fog"],
    discriminator=dict(type="mmext.OutputDiscriminator", num_classes=9, base_channels=32),
    warmup_iters=warmup_iters,
    ramp_iters=(max_iters - warmup_iters) // 10,
    lambda_adv=0.001,
    # Recolouring a clear day as fog is no good bridge: with 0.1 the student is worse on both.
    # Between real drives 0.1 is better than 0 (configs/multi_target/README.md).
    lambda_consistency=0.0,
    lambda_weights=10.0,
)

optim_wrapper = dict(
    experts={{_base_.optim_wrapper.segmentor}},
    discriminators=dict(optimizer=dict(type="Adam", lr=1e-4, betas=(0.9, 0.99))),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type="PolyLR", power=0.9, by_epoch=False, begin=20, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters // 4))
