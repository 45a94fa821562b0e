"""Rotated RetinaNet, rotated anchors, le135: KLD on DOTA-v1.0, 12 epochs.

Paper: Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence, arXiv 2106.01883.
Train with
python tools/train.py configs/rotated_losses/rotated-retinanet-rbox-le135_r50_fpn_kld_1x_dota.py
Figure: none published, none measured here.
Weight: mmrotate's, for the same loss.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::rotated_retinanet/rotated-retinanet-rbox-le135_r50_fpn_1x_dota.py"

model = dict(
    bbox_head=dict(
        reg_decoded_bbox=True,
        loss_bbox=dict(
            _delete_=True,
            type="mmext.KLDLoss",
            loss_weight=5.5,
        ),
    )
)
