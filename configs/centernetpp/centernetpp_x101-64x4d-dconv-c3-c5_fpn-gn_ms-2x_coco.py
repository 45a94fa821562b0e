"""CenterNet++ with a deformable ResNeXt-101 64x4d, 24 epochs of SGD at several scales.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train:
  python tools/train.py configs/centernetpp/centernetpp_x101-64x4d-dconv-c3-c5_fpn-gn_ms-2x_coco.py
Paper's figure: 50.8 AP on test-dev.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp_x101-64x4d_fpn-gn_ms-2x_coco.py"

model = dict(
    backbone=dict(
        dcn=dict(type="mmext.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    )
)
