"""The published schedule of BDL (arXiv 1904.10620), algorithm 1 and the official code.

Two translators, and with each of them a segmentor without pseudo labels and two with them. The
segmentor's own optimiser stands in the configs of its network.
"""

max_iters = 80_000
self_training_iters = 120_000
translator_iters = 124_830  # 20 epochs of GTA5's 24,966 images

train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=10_000)

generator = dict(type="mmext.CycleGANGenerator", num_blocks=9)
discriminator = dict(type="mmext.PatchDiscriminator")
adam = dict(optimizer=dict(type="Adam", lr=2e-4, betas=(0.5, 0.999)))

schedule = dict(
    type="mmext.BDLSchedule",
    outer=2,
    inner=2,
    translator=dict(
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(1024, 1024), keep_ratio=True),
            dict(type="RandomCrop", crop_size=(452, 452)),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackSegInputs"),
        ],
        scale=(1024, 563),
        model=dict(
            _delete_=True,
            type="mmext.ImageTranslator",
            generators=dict(a2b=generator, b2a=generator),
            discriminators=dict(a=discriminator, b=discriminator),
            cycle_weight=10.0,
            identity_weight=0.5,
            pool_size=50,
            semantic=dict(
                type="mmext.SemanticTerm",
                translation_weight=0.1,
                reconstruction_weight=10.0,
                kind="normalized_mse",
            ),
        ),
        train_dataloader=dict(batch_size=4),
        optim_wrapper=dict(
            _delete_=True,
            constructor="mmext.MultiOptimWrapperConstructor",
            generators=adam,
            discriminators=adam,
        ),
        # Constant for 10 epochs, then down to 0.
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
    self_training=dict(train_cfg=dict(max_iters=self_training_iters)),
    pseudo_labels=dict(kind="class_median", ceiling=0.9, portion=0.5),
)
