"""BDL's schedule (arXiv 1904.10620) for minutes of a CPU: small translators, K = 2, N = 1.

A quarter of the channels and a third of the residual blocks of CycleGAN's generator, one step down
instead of two, crops of 64 pixels, and a higher learning rate, since it ends after hundreds of
iterations.
"""

translator_iters = 400

generator = dict(type="mmext.CycleGANGenerator", base_channels=16, num_blocks=3, num_downs=1)
discriminator = dict(type="mmext.PatchDiscriminator", base_channels=16)
adam = dict(optimizer=dict(type="Adam", lr=1e-3, betas=(0.5, 0.999)))

schedule = dict(
    type="mmext.BDLSchedule",
    outer=2,
    inner=1,
    translator=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="RandomCrop", crop_size=(64, 64)),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackSegInputs"),
        ],
        model=dict(
            _delete_=True,
            type="mmext.ImageTranslator",
            generators=dict(a2b=generator, b2a=generator),
            discriminators=dict(a=discriminator, b=discriminator),
            semantic=dict(type="mmext.SemanticTerm"),
        ),
        train_dataloader=dict(batch_size=1),
        optim_wrapper=dict(
            _delete_=True,
            constructor="mmext.MultiOptimWrapperConstructor",
            generators=adam,
            discriminators=adam,
        ),
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
