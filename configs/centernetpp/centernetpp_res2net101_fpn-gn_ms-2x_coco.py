"""CenterNet++ with a Res2Net-101 v1d, 24 epochs of SGD at several scales.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train: python tools/train.py configs/centernetpp/centernetpp_res2net101_fpn-gn_ms-2x_coco.py
Paper's figure: 50.2 AP on test-dev.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp_r50_fpn-gn_ms-2x_coco.py"

model = dict(
    backbone=dict(
        type="Res2Net",
        depth=101,
        scales=4,
        base_width=26,
        with_cp=True,
        init_cfg=dict(checkpoint="open-mmlab://res2net101_v1d_26w_4s"),
    )
)
