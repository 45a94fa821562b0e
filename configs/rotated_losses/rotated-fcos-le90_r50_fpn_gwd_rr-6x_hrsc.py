"""Rotated FCOS, le90: GWD on HRSC2016, 72 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/rotated-fcos-le90_r50_fpn_gwd_rr-6x_hrsc.py
Figure: none published, none measured here.
Weight: that of the rotated IoU loss in this place. Boxes are in strides here, so GWD has to be
    the normalised form.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::rotated_fcos/rotated-fcos-le90_r50_fpn_rr-6x_hrsc.py"

model = dict(
    bbox_head=dict(
        loss_bbox=dict(
            _delete_=True,
            type="mmext.GDLoss",
            loss_type="gwd",
            loss_weight=1.0,
        )
    )
)
