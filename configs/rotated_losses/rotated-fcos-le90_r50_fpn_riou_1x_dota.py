"""Rotated FCOS, le90: rotated IoU on DOTA-v1.0, 12 epochs.

Train: python tools/train.py configs/rotated_losses/rotated-fcos-le90_r50_fpn_riou_1x_dota.py
Figure: mmrotate's, 71.28 AP50 on the test set. None measured here.
Weight: mmrotate's, for the same loss.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::rotated_fcos/rotated-fcos-le90_r50_fpn_1x_dota.py"

model = dict(
    bbox_head=dict(
        loss_bbox=dict(
            _delete_=True,
            type="mmext.RotatedIoULoss",
            loss_weight=1.0,
        )
    )
)
