"""Collaborative consistency learning (arXiv 2106.03418), GTA5 to Cityscapes, IDD and Mapillary.

python tools/convert_checkpoint.py deeplabv2 OFFICIAL_INIT.pth checkpoints/deeplabv2_r101_init.pth
python tools/train.py configs/multi_target/ccl_deeplabv2-r101_gta5-cityscapes-idd-mapillary.py

A reconstruction, not trained here. Later papers quote 46.7, 47.0 and 49.9 mIoU for the method.
"""

_base_ = [
    "../_base_/segmentation_runtime.py",
    "../_base_/datasets/gta5_multi_target.py",
    "../_base_/models/ccl_deeplabv2_r101.py",
]

init = dict(type="Pretrained", checkpoint="checkpoints/deeplabv2_r101_init.pth")
model = dict(segmentor=dict(backbone=dict(init_cfg=init)))
