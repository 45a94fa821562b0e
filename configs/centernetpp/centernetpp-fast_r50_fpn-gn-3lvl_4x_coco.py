"""Real-time CenterNet++ with a ResNet-50 on three levels, 36 epochs of SGD.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train: python tools/train.py configs/centernetpp/centernetpp-fast_r50_fpn-gn-3lvl_4x_coco.py
Paper's figure: none for this one; see the configuration with AdamW.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp-fast_r50_fpn-gn_4x_coco.py"

model = dict(neck=dict(num_outs=3), bbox_head=dict(strides=[8, 16, 32]))
