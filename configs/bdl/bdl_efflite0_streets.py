"""BDL (arXiv 1904.10620) on rendered streets, ``game`` to ``day``, for a CPU.

python tools/dataset_converters/streets.py
python tools/train.py configs/bdl/bdl_efflite0_streets.py
"""

_base_ = [
    "../_base_/datasets/streets_segmentation.py",
    "../_base_/models/bdl_efflite0.py",
    "../_base_/schedules/bdl_small.py",
]

model = dict(discriminator=dict(type="mmext.OutputDiscriminator", num_classes=9, base_channels=32))
optim_wrapper = dict(discriminator=dict(optimizer=dict(type="Adam", lr=1e-4, betas=(0.9, 0.99))))
