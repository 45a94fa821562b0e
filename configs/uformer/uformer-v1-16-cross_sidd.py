"""Uformer16 of version 1 on SIDD; its decoder attends to the encoder's features.

python tools/train.py configs/uformer/uformer-v1-16-cross_sidd.py
"""

_base_ = "uformer-b_sidd.py"
model = dict(
    generator=dict(_delete_=True, type="mmext.Uformer", arch="T", modulator=False, skip="cross"),
)
