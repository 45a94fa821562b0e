"""``deeplabv2_r101.py`` with the weights that the official trainings start from.

Made by ``python tools/convert_checkpoint.py deeplabv2 OFFICIAL_INIT.pth
checkpoints/deeplabv2_r101_init.pth``.
"""

_base_ = ["deeplabv2_r101.py"]

init = dict(type="Pretrained", checkpoint="checkpoints/deeplabv2_r101_init.pth")
model = dict(backbone=dict(init_cfg=init))
