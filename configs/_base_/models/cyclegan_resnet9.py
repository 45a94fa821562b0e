"""CycleGAN (arXiv 1703.10593) with 9 residual blocks, as BDL (arXiv 1904.10620) translates images.

BDL's semantic term is off here, since it needs a trained segmentor: set ``model.semantic``.
"""

generator = dict(type="mmext.CycleGANGenerator", num_blocks=9)
discriminator = dict(type="mmext.PatchDiscriminator")
model = dict(
    type="mmext.ImageTranslator",
    data_preprocessor=dict(type="mmext.TranslationDataPreprocessor"),
    generators=dict(a2b=generator, b2a=generator),
    discriminators=dict(a=discriminator, b=discriminator),
    domains=("source", "target"),
    cycle_weight=10.0,
    identity_weight=0.5,
    pool_size=50,
)
