"""Real-time CenterNet++ with a ResNet-50 on three levels, 72 epochs of AdamW (CenterNet-RT).

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train: python tools/train.py configs/centernetpp/centernetpp-fast_r50_fpn-gn-3lvl_6x-adamw_coco.py
Paper's figure: 43.2 AP on val2017, 43.6 AP on test-dev, 30.5 frames per second (the official
    README does not name the hardware; a user reports 42.9 AP on val2017, its issue 12).
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp-fast_r50_fpn-gn-3lvl_6x_coco.py"

# The official file also exempts names with "norm" in them from weight decay. No parameter of this
# model is called so (they are "bn" and "gn"), hence nothing is exempt there or here.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=0.0001, betas=(0.9, 0.999), weight_decay=0.05),
)
