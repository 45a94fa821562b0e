"""Rotated FCOS, le90: KLD on HRSC2016, 72 epochs.

Paper: Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence, arXiv 2106.01883.
Train: python tools/train.py configs/rotated_losses/rotated-fcos-le90_r50_fpn_kld_rr-6x_hrsc.py
Figure: none published, none measured here.
Weight: that of the rotated IoU loss in this place, and mmrotate's.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::rotated_fcos/rotated-fcos-le90_r50_fpn_rr-6x_hrsc.py"

model = dict(
    bbox_head=dict(
        loss_bbox=dict(
            _delete_=True,
            type="mmext.KLDLoss",
            loss_weight=1.0,
        )
    )
)
