"""BDL (arXiv 1904.10620), DeepLab-v2 ResNet-101, GTA5 to Cityscapes: 48.5 mIoU, as the code has it.

python tools/convert_checkpoint.py deeplabv2 OFFICIAL_INIT.pth checkpoints/deeplabv2_r101_init.pth
python tools/train.py configs/bdl/bdl_deeplabv2-r101_gta5-cityscapes.py
"""

_base_ = [
    "../_base_/segmentation_runtime.py",
    "../_base_/datasets/gta5_cityscapes.py",
    "../_base_/models/bdl_deeplabv2_r101.py",
    "../_base_/schedules/bdl.py",
]

init = dict(type="Pretrained", checkpoint="checkpoints/deeplabv2_r101_init.pth")
model = dict(segmentor=dict(backbone=dict(init_cfg=init)))
