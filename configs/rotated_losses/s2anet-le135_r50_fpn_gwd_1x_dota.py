"""S2ANet, le135: GWD on DOTA-v1.0, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/s2anet-le135_r50_fpn_gwd_1x_dota.py
Figure: none published, none measured here.
Weight: mmrotate's for the same loss in RetinaNet. As in R3Det the first stage keeps smooth L1.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::s2anet/s2anet-le135_r50_fpn_1x_dota.py"

model = dict(
    bbox_head_refine=[
        dict(
            _base_.model.bbox_head_refine[0],
            reg_decoded_bbox=True,
            loss_bbox=dict(type="mmext.GDLoss", loss_type="gwd", loss_weight=5.0),
        ),
    ],
)
