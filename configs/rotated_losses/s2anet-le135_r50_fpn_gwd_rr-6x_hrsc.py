"""S2ANet, le135: GWD on HRSC2016, 72 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/s2anet-le135_r50_fpn_gwd_rr-6x_hrsc.py
Figure: none published, none measured here.
Weight: mmrotate's for the same loss in RetinaNet. As in R3Det the first stage keeps smooth L1.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./s2anet-le135_r50_fpn_kld_rr-6x_hrsc.py"

model = dict(
    bbox_head_init=dict(
        reg_decoded_bbox=False,
        loss_bbox=dict(_delete_=True, type="mmdet.SmoothL1Loss", beta=0.11, loss_weight=1.0),
    ),
    bbox_head_refine=[
        dict(
            _base_.model.bbox_head_refine[0],
            loss_bbox=dict(type="mmext.GDLoss", loss_type="gwd", loss_weight=5.0),
        ),
    ],
)
