"""CenterNet++ with a deformable ResNet-101, 24 epochs of SGD at several scales.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train:
  python tools/train.py configs/centernetpp/centernetpp_r101-dconv-c3-c5_fpn-gn_ms-2x_coco.py
Paper's figure: 49.8 AP on test-dev.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp_r101_fpn-gn_ms-2x_coco.py"

model = dict(
    backbone=dict(
        dcn=dict(type="mmext.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    )
)
