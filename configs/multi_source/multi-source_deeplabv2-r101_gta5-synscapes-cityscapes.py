"""Collaborative learning from GTA5 and Synscapes (CVPR 2021), DeepLab-v2 R-101: 59.0 mIoU.

python tools/convert_checkpoint.py deeplabv2 OFFICIAL_INIT.pth checkpoints/deeplabv2_r101_init.pth
python tools/train.py configs/multi_source/multi-source_deeplabv2-r101_gta5-synscapes-cityscapes.py

59.0 is the authors' figure. Our reconstruction of the method has not been trained on these data.
"""

_base_ = [
    "../_base_/segmentation_runtime.py",
    "../_base_/datasets/gta5_synscapes_cityscapes.py",
    "../_base_/models/deeplabv2_r101_init.py",
    "../_base_/schedules/multi_source.py",
]

model = dict(
    _delete_=True,
    type="mmext.MultiSourceAdaptation",
    segmentor=dict(
        type="mmext.SegmentorEnsemble",
        members=dict(gta5={{_base_.model}}, synscapes={{_base_.model}}),
        test="ensemble",
    ),
    ramp_iters={{_base_.max_iters}},
    teacher="specialist",
    lambda_col=0.5,
    lambda_target=0.1,
)
