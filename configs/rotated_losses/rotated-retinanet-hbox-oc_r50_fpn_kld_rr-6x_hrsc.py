"""Rotated RetinaNet, horizontal anchors, oc: KLD on HRSC2016, 72 epochs.

Paper: Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence, arXiv 2106.01883.
Train with
python tools/train.py configs/rotated_losses/rotated-retinanet-hbox-oc_r50_fpn_kld_rr-6x_hrsc.py
Figure: mmrotate's, 58.17 AP50:95, 87.00 AP50, 69.30 AP75; the authors' (AlphaRotate) 57.80
    AP50:95, 87.45 AP50, 72.39 AP75 (11 points). None measured here.
Weight: mmrotate's, for the same loss.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::rotated_retinanet/rotated-retinanet-hbox-oc_r50_fpn_rr-6x_hrsc.py"

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
