"""``bdl_small.py`` with translators that change images instead of painting them anew.

For photographs whose light differs. Networks have no instance norms, which take away how bright a
crop is; a generator begins with hardly a change, so there is no identity term, and the learning
rate is higher. With CycleGAN's weight of the cycle term, or a third of it, day hardly becomes dusk.
Edges stay sharp, textures hardly change.
"""

_base_ = ["bdl_small.py"]

translator_iters = 600

generator = dict(
    norm=False,
    residual=True,
    init_cfg=dict(
        type="Kaiming",
        layer=["Conv2d", "ConvTranspose2d"],
        override=dict(type="Normal", name="out", std=0.02),
    ),
)
discriminator = dict(norm=False, init_cfg=dict(type="Kaiming", layer="Conv2d", a=0.2))
# Norms of gradients are about 5, and in single iterations a hundred times that.
adam = dict(optimizer=dict(lr=2e-3), clip_grad=dict(max_norm=10.0))

schedule = dict(
    translator=dict(
        model=dict(
            generators=dict(a2b=generator, b2a=generator),
            discriminators=dict(a=discriminator, b=discriminator),
            cycle_weight=1.0,
            identity_weight=0.0,
            # A tenth of the published weights, as the cycle term has.
            semantic=dict(translation_weight=0.01, reconstruction_weight=1.0),
        ),
        optim_wrapper=dict(generators=adam, discriminators=adam),
        param_scheduler=[
            dict(
                type="LinearLR",
                start_factor=1.0,
                end_factor=0.0,
                by_epoch=False,
                begin=translator_iters // 2,
                end=translator_iters,
            )
        ],
        train_cfg=dict(max_iters=translator_iters),
    ),
)
