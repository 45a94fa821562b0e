"""Oriented R-CNN, le90: GWD on DOTA-v1.0, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/oriented-rcnn-le90_r50_fpn_gwd_1x_dota.py
Figure: none published, none measured here.
Weight: mmdet's for GIoU in this place; the sum is divided by the number of all samples.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::oriented_rcnn/oriented-rcnn-le90_r50_fpn_1x_dota.py"

model = dict(
    roi_head=dict(
        bbox_head=dict(
            reg_decoded_bbox=True,
            loss_bbox=dict(_delete_=True, type="mmext.GDLoss", loss_type="gwd", loss_weight=10.0),
        )
    )
)
