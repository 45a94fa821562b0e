"""Collaborative consistency learning (arXiv 2106.03418) on rendered streets, two targets.

python tools/dataset_converters/streets.py
python tools/train.py configs/multi_target/ccl_efflite0_streets-day-fog.py

A reconstruction: the authors' code is not public.
"""

_base_ = [
    "../_base_/datasets/streets_multi_target.py",
    "../_base_/models/ccl_efflite0.py",
]
