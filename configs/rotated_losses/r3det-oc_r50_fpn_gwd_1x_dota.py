"""R3Det, oc: GWD on DOTA-v1.0, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/r3det-oc_r50_fpn_gwd_1x_dota.py
Figure: the authors' (AlphaRotate), 71.56 AP50 on the test set. None measured here.
Weight: the authors', for the same loss. As in the paper the first stage keeps smooth L1.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::r3det/r3det-oc_r50_fpn_1x_dota.py"

model = dict(
    bbox_head_refine=[
        dict(
            _base_.model.bbox_head_refine[0],
            reg_decoded_bbox=True,
            loss_bbox=dict(type="mmext.GWDLoss", loss_weight=2.0),
        ),
    ],
)
