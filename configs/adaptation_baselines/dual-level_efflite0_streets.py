"""Dual-level domain mixing (CVPR 2021) on rendered streets, with 20 labelled images of ``day``.

python tools/dataset_converters/streets.py
python tools/train.py configs/adaptation_baselines/dual-level_efflite0_streets.py
"""

_base_ = [
    "../_base_/datasets/streets_few_labels.py",
    "../_base_/models/bdl_efflite0.py",
]

model = dict(
    _delete_=True,
    type="mmext.TeacherDistillation",
    segmentor={{_base_.model.segmentor}},
    teachers=dict(region={{_base_.model.segmentor}}, sample={{_base_.model.segmentor}}),
    lambda_kl=0.5,
)
schedule = dict(type="mmext.DualLevelSchedule", labelled_target="few", rounds=2)
