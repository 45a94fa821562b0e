"""mmdet's Faster R-CNN with the KLD loss in its box head, 12 epochs.

Paper: Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence, arXiv 2106.01883.
Train: python tools/train.py configs/rotated_losses/faster-rcnn_r50_fpn_kld_1x_coco.py
Figure: none measured. The weight is that of mmdet's GIoU loss in this place: the sum is divided by
    the number of all samples, of which few are positive.
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py"

model = dict(
    roi_head=dict(
        bbox_head=dict(
            reg_decoded_bbox=True,
            loss_bbox=dict(_delete_=True, type="mmext.KLDLoss", loss_weight=10.0),
        )
    )
)
