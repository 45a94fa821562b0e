"""MI-AOD with RetinaNet: five cycles on COCO, from 2 to 10 % of 117,266 images.

Paper: Multiple Instance Active Learning for Object Detection, arXiv 2104.02324.
Train: python tools/train.py configs/mi_aod/miaod_retinanet_r50_fpn_coco.py
Paper's figures: 7.3, 13.8, 16.9, 19.1 and 20.8 AP on val2017.
A fifth of the images, drawn anew in each cycle, is looked at, as in the official configuration.
Hardware: written for 1 GPU with 2 images.
"""

_base_ = [
    "../_base_/models/miaod_retinanet_r50_fpn.py",
    "../_base_/datasets/coco_detection.py",
    "../_base_/schedules/miaod_retinanet.py",
    "../_base_/default_runtime.py",
]

model = dict(bbox_head=dict(num_classes=80))
warm_up = dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500)
param_scheduler = [warm_up]
train_cfg = dict(
    cycles=5,
    budget=dict(initial=2345, step=2345),
    phases=[
        *_base_.train_cfg.phases[:-1],
        dict(**_base_.label, param_scheduler=[warm_up, *_base_.slow_end]),
    ],
    scoring=dict(subset=0.2),
)
# The end of each cycle is kept as well; these are to go on from.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
