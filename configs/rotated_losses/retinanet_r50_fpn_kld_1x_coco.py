"""mmdet's RetinaNet for horizontal boxes with the KLD loss, 12 epochs.

Paper: Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence, arXiv 2106.01883, which also has horizontal boxes.
Train: python tools/train.py configs/rotated_losses/retinanet_r50_fpn_kld_1x_coco.py
Figure: none measured. The weight is that of the rotated RetinaNet of mmrotate (kld-stable).
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "mmdet::retinanet/retinanet_r50_fpn_1x_coco.py"

model = dict(
    bbox_head=dict(
        reg_decoded_bbox=True,
        loss_bbox=dict(_delete_=True, type="mmext.KLDLoss", loss_weight=5.5),
    )
)
