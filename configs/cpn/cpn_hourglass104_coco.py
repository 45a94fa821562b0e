"""CPN with an Hourglass-104, 220,000 iterations of Adam.

Paper: Corner Proposal Network for Anchor-free, Two-stage Object Detection, arXiv 2007.13816.
Train: python tools/train.py configs/cpn/cpn_hourglass104_coco.py
Test: python tools/test.py CONFIG CHECKPOINT --tta, which adds the flipped image as the authors do.
Paper's figure: 47.0 AP on test-dev, with the flipped image.
Hardware: written for 8 GPUs with 6 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./cpn_hourglass52_coco.py"

model = dict(
    backbone=dict(num_stacks=2),
    bbox_head=dict(num_stacks=2, roi_layer=dict(sampling_ratio=1)),
)

max_iters = 220000
train_cfg = dict(max_iters=max_iters)
param_scheduler = [
    dict(type="MultiStepLR", begin=0, end=max_iters, by_epoch=False, milestones=[200000], gamma=0.1)
]
