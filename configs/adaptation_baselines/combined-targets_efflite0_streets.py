"""Data combination: adversarial adaptation to ``day`` and ``fog`` as if they were one target.

python tools/dataset_converters/streets.py
python tools/train.py configs/adaptation_baselines/combined-targets_efflite0_streets.py
"""

_base_ = [
    "../_base_/datasets/streets_multi_target.py",
    "../_base_/models/bdl_efflite0.py",
]

model = dict(discriminator=dict(type="mmext.OutputDiscriminator", num_classes=9, base_channels=32))
optim_wrapper = dict(discriminator=dict(optimizer=dict(type="Adam", lr=1e-4, betas=(0.9, 0.99))))
