"""The upper end: the segmentor of ``bdl_efflite0_streets.py`` on ``day`` with its labels.

python tools/dataset_converters/streets.py
python tools/train.py configs/bdl/oracle_efflite0_streets.py
"""

_base_ = [
    "../_base_/datasets/streets_segmentation.py",
    "../_base_/models/bdl_efflite0.py",
]

train_dataloader = dict(
    dataset=dict(sources=dict(source=dict(domain="day")), targets=dict(_delete_=True))
)
