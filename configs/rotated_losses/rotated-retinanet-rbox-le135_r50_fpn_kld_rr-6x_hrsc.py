"""Rotated RetinaNet, rotated anchors, le135: KLD on HRSC2016, 72 epochs.

Paper: Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence, arXiv 2106.01883.
Train with
python tools/train.py configs/rotated_losses/rotated-retinanet-rbox-le135_r50_fpn_kld_rr-6x_hrsc.py
Figure: none published, none measured here.
Weight: mmrotate's, for the same loss.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::rotated_retinanet/rotated-retinanet-rbox-le90_r50_fpn_rr-6x_hrsc.py"

angle_version = "le135"
model = dict(
    bbox_head=dict(
        anchor_generator=dict(angle_version=angle_version),
        bbox_coder=dict(angle_version=angle_version, norm_factor=1, edge_swap=False, proj_xy=True),
        reg_decoded_bbox=True,
        loss_bbox=dict(
            _delete_=True,
            type="mmext.KLDLoss",
            loss_weight=1.0,
        ),
    )
)
