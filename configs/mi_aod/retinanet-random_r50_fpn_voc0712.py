"""A plain RetinaNet with images chosen at random: what MI-AOD's training adds to it.

Train: python tools/train.py configs/mi_aod/retinanet-random_r50_fpn_voc0712.py
Paper's figures: 28.31, 49.42, 56.03, 59.81, 64.02, 65.95 and 67.09 mAP on VOC 2007 test.
"""

_base_ = "./miaod_retinanet_r50_fpn_voc0712.py"

model = dict(bbox_head=dict(type="RetinaHead"))
# As many passes as a cycle of MI-AOD has over the labelled images.
drop = [dict(type="MultiStepLR", by_epoch=True, milestones=[10], gamma=0.1)]
train_cfg = dict(
    phases=[dict(name="train", epochs=13, repeat=2, param_scheduler=drop)],
    acquisition=dict(_delete_=True, type="mmext.Random"),
)
