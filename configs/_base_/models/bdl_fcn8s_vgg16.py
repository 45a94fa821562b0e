"""BDL (arXiv 1904.10620) around FCN-8s with VGG-16, 19 classes, with its optimisers."""

_base_ = ["fcn8s_vgg16.py"]

model = dict(
    _delete_=True,
    type="mmext.BDL",
    segmentor={{_base_.model}},
    discriminator=dict(type="mmext.OutputDiscriminator", num_classes=19),
    lambda_adv=0.0001,
)

optim_wrapper = dict(
    constructor="mmext.MultiOptimWrapperConstructor",
    segmentor=dict(
        optimizer=dict(type="Adam", lr=1e-5, betas=(0.9, 0.99)),
        paramwise_cfg=dict(bias_lr_mult=2.0),
    ),
    discriminator=dict(optimizer=dict(type="Adam", lr=1e-6, betas=(0.9, 0.99))),
)
param_scheduler = dict(
    segmentor=[dict(type="StepLR", step_size=50_000, gamma=0.1, by_epoch=False)],
    discriminator=[dict(type="PolyLR", power=0.9, begin=0, end=250_000, by_epoch=False)],
)
