"""MI-AOD with RetinaNet: seven cycles on VOC, from 5 to 20 % of 16,551 images.

Paper: Multiple Instance Active Learning for Object Detection, arXiv 2104.02324.
Train: python tools/train.py configs/mi_aod/miaod_retinanet_r50_fpn_voc0712.py
Paper's figures: 47.18, 58.41, 64.02, 67.72, 69.79, 71.07 and 72.27 mAP on VOC 2007 test.
Hardware: written for 1 GPU with 2 images; 3.1 hours for the last cycle.
"""

_base_ = [
    "../_base_/models/miaod_retinanet_r50_fpn.py",
    "../_base_/datasets/voc0712_detection.py",
    "../_base_/schedules/miaod_retinanet.py",
    "../_base_/default_runtime.py",
]

train_cfg = dict(cycles=7, budget=dict(initial=827, step=413))
# The end of each cycle is kept as well; these are to go on from.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
