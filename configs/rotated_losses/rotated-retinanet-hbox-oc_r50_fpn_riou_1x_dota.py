"""Rotated RetinaNet, horizontal anchors, oc: rotated IoU on DOTA-v1.0, 12 epochs.

Train with
python tools/train.py configs/rotated_losses/rotated-retinanet-hbox-oc_r50_fpn_riou_1x_dota.py
Figure: none published, none measured here.
Weight: mmrotate's for this loss in Rotated FCOS.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::rotated_retinanet/rotated-retinanet-hbox-oc_r50_fpn_1x_dota.py"

model = dict(
    bbox_head=dict(
        reg_decoded_bbox=True,
        loss_bbox=dict(
            _delete_=True,
            type="mmext.RotatedIoULoss",
            loss_weight=1.0,
        ),
    )
)
