"""``game`` and 20 labelled images of ``day``, side by side: no mixing, no unlabelled images.

python tools/dataset_converters/streets.py
python tools/train.py configs/adaptation_baselines/few-labels_efflite0_streets.py
"""

_base_ = [
    "../_base_/datasets/streets_few_labels.py",
    "../_base_/models/bdl_efflite0.py",
]

train_dataloader = dict(dataset=dict(targets=dict(_delete_=True)))
