"""Collaborative learning from GTA5 and SYNTHIA (CVPR 2021), DeepLab-v2 ResNet-101.

python tools/convert_checkpoint.py deeplabv2 OFFICIAL_INIT.pth checkpoints/deeplabv2_r101_init.pth
python tools/train.py configs/multi_source/multi-source_deeplabv2-r101_gta5-synthia-cityscapes.py

Our reconstruction of the method has not been trained on these data.
"""

_base_ = [
    "../_base_/segmentation_runtime.py",
    "../_base_/datasets/gta5_synthia_cityscapes.py",
    "../_base_/models/deeplabv2_r101_init.py",
    "../_base_/schedules/multi_source.py",
]

model = dict(
    _delete_=True,
    type="mmext.MultiSourceAdaptation",
    segmentor=dict(
        type="mmext.SegmentorEnsemble",
        members=dict(gta5={{_base_.model}}, synthia={{_base_.model}}),
        test="ensemble",
    ),
    ramp_iters={{_base_.max_iters}},
    teacher="specialist",
    lambda_col=0.5,
    lambda_target=0.1,
)
