"""Entropy minimisation (ADVENT, arXiv 1811.12833) on rendered streets, ``game`` to ``day``.

python tools/dataset_converters/streets.py
python tools/train.py configs/adaptation_baselines/entropy_efflite0_streets.py
"""

_base_ = [
    "../_base_/datasets/streets_segmentation.py",
    "../_base_/models/bdl_efflite0.py",
]

model = dict(type="mmext.EntropyMinimization", lambda_entropy=0.001)
