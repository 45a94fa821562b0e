"""BDL (arXiv 1904.10620) around DeepLab-v2 with ResNet-101, 19 classes, as its code trains it.

The backbone's parameters are updated three times in each iteration: see
``mmext.DuplicateParamsConstructor``.
"""

_base_ = ["deeplabv2_r101.py"]

model = dict(
    _delete_=True,
    type="mmext.BDL",
    segmentor={{_base_.model}},
    discriminator=dict(type="mmext.OutputDiscriminator", num_classes=19),
    lambda_adv=0.001,
)

optim_wrapper = dict(
    constructor="mmext.MultiOptimWrapperConstructor",
    segmentor=dict(
        constructor="mmext.DuplicateParamsConstructor",
        head_lr_mult=10,
        optimizer=dict(type="SGD", lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
    ),
    discriminator=dict(optimizer=dict(type="Adam", lr=1e-4, betas=(0.9, 0.99))),
)
# Trainings stop long before its end.
param_scheduler = [dict(type="PolyLR", power=0.9, begin=0, end=250_000, by_epoch=False)]
