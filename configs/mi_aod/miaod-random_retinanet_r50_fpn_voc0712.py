"""MI-AOD's training with images chosen at random: what the choice of images adds to it.

Train: python tools/train.py configs/mi_aod/miaod-random_retinanet_r50_fpn_voc0712.py
Paper's figures: 47.18, 57.12, 60.68, 63.72, 66.10, 67.59 and 68.48 mAP on VOC 2007 test.
"""

_base_ = "./miaod_retinanet_r50_fpn_voc0712.py"

train_cfg = dict(acquisition=dict(_delete_=True, type="mmext.Random"))
