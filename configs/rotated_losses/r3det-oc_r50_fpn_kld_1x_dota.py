"""R3Det, oc: KLD on DOTA-v1.0, 12 epochs.

Paper: Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence, arXiv 2106.01883.
Train: python tools/train.py configs/rotated_losses/r3det-oc_r50_fpn_kld_1x_dota.py
Figure: mmrotate's, 72.12 AP50 on the test set; the authors' (AlphaRotate) 71.73. None measured
    here.
Weight: mmrotate's, for the same loss in both stages.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::r3det/r3det-oc_r50_fpn_1x_dota.py"

model = dict(
    bbox_head_init=dict(
        reg_decoded_bbox=True,
        loss_bbox=dict(_delete_=True, type="mmext.KLDLoss", loss_weight=5.0),
    ),
    bbox_head_refine=[
        dict(
            _base_.model.bbox_head_refine[0],
            reg_decoded_bbox=True,
            loss_bbox=dict(type="mmext.KLDLoss", loss_weight=5.0),
        ),
    ],
)
