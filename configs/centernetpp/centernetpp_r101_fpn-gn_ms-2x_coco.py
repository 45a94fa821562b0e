"""CenterNet++ with a ResNet-101, 24 epochs of SGD at several scales.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train: python tools/train.py configs/centernetpp/centernetpp_r101_fpn-gn_ms-2x_coco.py
Paper's figure: 47.7 AP on test-dev.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp_r50_fpn-gn_ms-2x_coco.py"

model = dict(
    backbone=dict(
        depth=101,
        init_cfg=dict(checkpoint="https://download.pytorch.org/models/resnet101-5d3b4d8f.pth"),
    )
)
