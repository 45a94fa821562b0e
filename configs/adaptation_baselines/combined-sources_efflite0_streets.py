"""Data combination: one segmentor learns from ``game`` and ``arcade``, without adaptation.

python tools/dataset_converters/streets.py
python tools/train.py configs/adaptation_baselines/combined-sources_efflite0_streets.py

In the colours of ``day``, as the sources of ``configs/multi_source`` are.
"""

_base_ = [
    "../_base_/datasets/streets_two_sources.py",
    "../_base_/models/bdl_efflite0.py",
]

train_dataloader = dict(dataset=dict(targets=dict(_delete_=True)))
