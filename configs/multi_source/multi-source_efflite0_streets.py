"""Collaborative learning from two sources (He et al., CVPR 2021) on rendered streets, for a CPU.

python tools/dataset_converters/streets.py
python tools/train.py configs/multi_source/multi-source_efflite0_streets.py

A reconstruction: the authors' code is not public.
"""

_base_ = [
    "../_base_/datasets/streets_two_sources.py",
    "../_base_/models/bdl_efflite0.py",
]

model = dict(
    _delete_=True,
    type="mmext.MultiSourceAdaptation",
    segmentor=dict(
        type="mmext.SegmentorEnsemble",
        members=dict(
            game={{_base_.model.segmentor}},
            arcade={{_base_.model.segmentor}},
        ),
        test="ensemble",
    ),
    ramp_iters={{_base_.max_iters}},
)
