"""CenterNet++ with a ResNeXt-101 64x4d, 24 epochs of SGD at several scales.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train: python tools/train.py configs/centernetpp/centernetpp_x101-64x4d_fpn-gn_ms-2x_coco.py
Paper's figure: 49.3 AP on test-dev.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp_r50_fpn-gn_ms-2x_coco.py"

model = dict(
    backbone=dict(
        type="ResNeXt",
        depth=101,
        groups=64,
        base_width=4,
        with_cp=True,
        init_cfg=dict(checkpoint="open-mmlab://resnext101_64x4d"),
    )
)
