"""``bdl_small.py`` with translators that change images instead of painting them anew.

For photographs whose light differs. Networks have no instance norms, which take away how bright a
crop is; a generator begins with hardly a change, so there is no identity term, the cycle term is
smaller and the learning rate higher. Edges stay sharp, textures hardly change. One of two trainings
on CamVid ended in frames of a single colour: look at them before the segmentor learns from them.
"""

_base_ = ["bdl_small.py"]

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
adam = dict(optimizer=dict(lr=2e-3))

schedule = dict(
    translator=dict(
        model=dict(
            generators=dict(a2b=generator, b2a=generator),
            discriminators=dict(a=discriminator, b=discriminator),
            cycle_weight=3.0,
            identity_weight=0.0,
        ),
        optim_wrapper=dict(generators=adam, discriminators=adam),
    ),
)
