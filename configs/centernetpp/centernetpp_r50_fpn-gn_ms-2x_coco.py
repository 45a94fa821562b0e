"""CenterNet++ with a ResNet-50, 24 epochs of SGD at several scales.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train: python tools/train.py configs/centernetpp/centernetpp_r50_fpn-gn_ms-2x_coco.py
Paper's figure: 46.4 AP on test-dev.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp_r50_fpn-gn_1x_coco.py"

train_pipeline = [
    dict(type="LoadImageFromFile", backend_args=_base_.backend_args),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=[(1333, 480), (1333, 960)], keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

max_epochs = 24
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR",
        begin=0,
        end=max_epochs,
        by_epoch=True,
        milestones=[16, 22],
        gamma=0.1,
    ),
]
