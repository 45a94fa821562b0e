"""Uformer16 of version 1 (no modulators) on SIDD.

39.65 dB in the official README of version 1.

python tools/train.py configs/uformer/uformer-v1-16_sidd.py
"""

_base_ = "uformer-b_sidd.py"
model = dict(
    generator=dict(_delete_=True, type="mmext.Uformer", arch="T", modulator=False),
)
