"""A plain U-Net with as many parameters as the tiny Uformer, otherwise trained like it."""

_base_ = "../../../configs/uformer/uformer-tiny_photos-noise25.py"

model = dict(
    generator=dict(_delete_=True, type="PlainUNet", channels=20),
    test_cfg=dict(pad_multiple=16),
)
