"""RoI Transformer, le90: GWD on DOTA-v1.0, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/roi-trans-le90_r50_fpn_gwd_1x_dota.py
Figure: none published, none measured here.
Weight: mmdet's for GIoU in this place; the sum is divided by the number of all samples.
Hardware: written for one GPU with 2 images.
"""

_base_ = "mmrotate::roi_trans/roi-trans-le90_r50_fpn_1x_dota.py"

box_loss = dict(
    reg_decoded_bbox=True, loss_bbox=dict(type="mmext.GDLoss", loss_type="gwd", loss_weight=10.0)
)
model = dict(
    roi_head=dict(bbox_head=[dict(head, **box_loss) for head in _base_.model.roi_head.bbox_head])
)
