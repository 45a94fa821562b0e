"""Uformer-T (arXiv 2106.03106) on SIDD, as Uformer-B.

python tools/train.py configs/uformer/uformer-t_sidd.py
"""

_base_ = "uformer-b_sidd.py"
model = dict(generator=dict(arch="T"))
