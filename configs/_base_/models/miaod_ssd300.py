"""MI-AOD (arXiv 2104.02324) around SSD300 with VGG-16, for the 20 classes of VOC.

Its smallest anchors are those of VOC (``basesize_ratio_range``; mmdet's are those of COCO).
"""

_base_ = "mmdet::_base_/models/ssd300.py"

model = dict(
    bbox_head=dict(
        type="mmext.MIAODSSDHead",
        num_classes=20,
        anchor_generator=dict(basesize_ratio_range=(0.2, 0.9)),
    )
)
