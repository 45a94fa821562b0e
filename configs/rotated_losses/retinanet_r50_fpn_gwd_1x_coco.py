"""mmdet's RetinaNet for horizontal boxes with the GWD loss, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952, which also has horizontal boxes.
Train: python tools/train.py configs/rotated_losses/retinanet_r50_fpn_gwd_1x_coco.py
Figure: none measured. Loss and weight are those of the rotated RetinaNet of mmrotate.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"

model = dict(
    bbox_head=dict(
        reg_decoded_bbox=True,
        loss_bbox=dict(_delete_=True, type="mmext.GDLoss", loss_type="gwd", loss_weight=5.0),
    )
)
