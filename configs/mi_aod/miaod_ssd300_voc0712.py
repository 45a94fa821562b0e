"""MI-AOD with SSD300: ten cycles on VOC, from 1,000 to 10,000 of 16,551 images.

Paper: Multiple Instance Active Learning for Object Detection, arXiv 2104.02324.
Train: python tools/train.py configs/mi_aod/miaod_ssd300_voc0712.py
Authors' figures: 53.62, 62.86, 66.83, 69.33, 70.80, 72.21, 72.84, 73.74, 74.18 and 74.91 mAP on
VOC 2007 test, means of several runs that deviate by 2.15 in the first cycle and 0.17 in the last.
Hardware: written for 1 GPU with 8 images.
"""

_base_ = [
    "../_base_/models/miaod_ssd300.py",
    "../_base_/datasets/voc0712_ssd300.py",
    "../_base_/schedules/miaod_ssd300.py",
    "../_base_/default_runtime.py",
]

train_cfg = dict(cycles=10, budget=dict(initial=1000, step=1000))
# The end of each cycle is kept as well; these are to go on from.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
