"""Real-time CenterNet++ with a ResNet-50 on three levels, 72 epochs of SGD.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train: python tools/train.py configs/centernetpp/centernetpp-fast_r50_fpn-gn-3lvl_6x_coco.py
Paper's figure: none for this one (a user of the official code reports 42.5 AP on val2017, its
    issue 12).
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp-fast_r50_fpn-gn-3lvl_4x_coco.py"

max_epochs = 72
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR",
        begin=0,
        end=max_epochs,
        by_epoch=True,
        milestones=[63, 69],
        gamma=0.1,
    ),
]
