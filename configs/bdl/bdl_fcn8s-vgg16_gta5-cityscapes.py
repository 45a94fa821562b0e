"""BDL (arXiv 1904.10620), FCN-8s VGG-16, GTA5 to Cityscapes: 41.3 mIoU.

python tools/convert_checkpoint.py fcn8s OFFICIAL_INIT.pth checkpoints/fcn8s_vgg16_gta5.pth
python tools/train.py configs/bdl/bdl_fcn8s-vgg16_gta5-cityscapes.py

The official initial weights were trained on the source; the network begins with zeros without them.
"""

_base_ = [
    "../_base_/segmentation_runtime.py",
    "../_base_/datasets/gta5_cityscapes.py",
    "../_base_/models/bdl_fcn8s_vgg16.py",
    "../_base_/schedules/bdl.py",
]

init = dict(type="Pretrained", checkpoint="checkpoints/fcn8s_vgg16_gta5.pth")
model = dict(segmentor=dict(init_cfg=init))
