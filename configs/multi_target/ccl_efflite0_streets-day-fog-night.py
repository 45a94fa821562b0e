"""Collaborative consistency learning (arXiv 2106.03418) on rendered streets, three targets.

python tools/dataset_converters/streets.py
python tools/train.py configs/multi_target/ccl_efflite0_streets-day-fog-night.py

A reconstruction: the authors' code is not public.
"""

_base_ = ["ccl_efflite0_streets-day-fog.py"]

night = dict(type="mmext.StreetsDataset", data_root="data/streets", domain="night")

model = dict(targets=["day", "fog", "night"])
train_dataloader = dict(
    dataset=dict(targets=dict(night=dict(**night, pipeline={{_base_.target_pipeline}})))
)
val_dataloader = dict(
    dataset=dict(datasets=dict(night=dict(**night, split="val", pipeline={{_base_.test_pipeline}})))
)
test_dataloader = val_dataloader
