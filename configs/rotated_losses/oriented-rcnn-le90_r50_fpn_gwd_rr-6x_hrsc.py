"""Oriented R-CNN, le90: GWD on HRSC2016, 72 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/oriented-rcnn-le90_r50_fpn_gwd_rr-6x_hrsc.py
Figure: none published, none measured here.
Weight: mmdet's for GIoU in this place; the sum is divided by the number of all samples.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./oriented-rcnn-le90_r50_fpn_kld_rr-6x_hrsc.py"

model = dict(
    roi_head=dict(
        bbox_head=dict(
            loss_bbox=dict(_delete_=True, type="mmext.GDLoss", loss_type="gwd", loss_weight=10.0),
        )
    )
)
