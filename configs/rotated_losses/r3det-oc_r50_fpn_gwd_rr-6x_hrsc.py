"""R3Det, oc: GWD on HRSC2016, 72 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/r3det-oc_r50_fpn_gwd_rr-6x_hrsc.py
Figure: the authors' (AlphaRotate), 56.07 AP50:95, 89.43 AP50, 65.88 AP75 (11 points). None
    measured here.
Weight: the authors', for the same loss. As in the paper the first stage keeps smooth L1.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./r3det-oc_r50_fpn_kld_rr-6x_hrsc.py"

model = dict(
    bbox_head_init=dict(
        reg_decoded_bbox=False,
        loss_bbox=dict(_delete_=True, type="mmdet.SmoothL1Loss", beta=0.11, loss_weight=1.0),
    ),
    bbox_head_refine=[
        dict(
            _base_.model.bbox_head_refine[0], loss_bbox=dict(type="mmext.GWDLoss", loss_weight=2.0)
        ),
    ],
)
