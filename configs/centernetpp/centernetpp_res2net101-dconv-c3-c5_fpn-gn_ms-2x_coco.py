"""CenterNet++ with a deformable Res2Net-101 v1d, 24 epochs of SGD at several scales.

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train:
  python tools/train.py configs/centernetpp/centernetpp_res2net101-dconv-c3-c5_fpn-gn_ms-2x_coco.py
Paper's figure: 51.5 AP on test-dev, 53.7 with test-time augmentation (--tta).
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp_res2net101_fpn-gn_ms-2x_coco.py"

model = dict(
    backbone=dict(
        dcn=dict(type="mmext.DCNv2", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, True, True, True),
    )
)
