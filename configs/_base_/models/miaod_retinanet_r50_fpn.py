"""MI-AOD (arXiv 2104.02324) around RetinaNet with ResNet-50, for the 20 classes of VOC.

Choices are those of the official code; ``bbox_head.faithful="paper"`` takes the paper's, and
``bbox_head.loss_bbox=dict(type="SmoothL1Loss", beta=1.0)`` the loss of boxes that it writes.
"""

_base_ = "mmdet::_base_/models/retinanet_r50_fpn.py"

model = dict(bbox_head=dict(type="mmext.MIAODRetinaHead", num_classes=20))
