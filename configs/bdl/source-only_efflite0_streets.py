"""No adaptation: the segmentor of ``bdl_efflite0_streets.py`` on ``game`` alone.

python tools/dataset_converters/streets.py
python tools/train.py configs/bdl/source-only_efflite0_streets.py
"""

_base_ = [
    "../_base_/datasets/streets_segmentation.py",
    "../_base_/models/bdl_efflite0.py",
]

train_dataloader = dict(dataset=dict(targets=dict(_delete_=True)))
