"""Uformer32 of version 1 (no modulators) on SIDD.

39.77 dB in the official README of version 1.

python tools/train.py configs/uformer/uformer-v1-32_sidd.py
"""

_base_ = "uformer-b_sidd.py"
model = dict(
    generator=dict(_delete_=True, type="mmext.Uformer", arch="S", modulator=False),
)
