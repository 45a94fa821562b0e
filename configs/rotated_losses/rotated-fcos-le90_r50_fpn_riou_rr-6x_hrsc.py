"""Rotated FCOS, le90: rotated IoU on HRSC2016, 72 epochs.

Train: python tools/train.py configs/rotated_losses/rotated-fcos-le90_r50_fpn_riou_rr-6x_hrsc.py
Figure: none published, none measured here.
Weight: mmrotate's, for the same loss.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::rotated_fcos/rotated-fcos-le90_r50_fpn_rr-6x_hrsc.py"

model = dict(
    bbox_head=dict(
        loss_bbox=dict(
            _delete_=True,
            type="mmext.RotatedIoULoss",
            loss_weight=1.0,
        )
    )
)
