"""RoI Transformer, le90: GWD on DOTA-v1.5, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/roi-trans-le90_r50_fpn_gwd_1x_dotav15.py
Figure: none published, none measured here.
Weight: mmdet's for GIoU in this place; the sum is divided by the number of all samples.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./roi-trans-le90_r50_fpn_gwd_1x_dota.py"

model = dict(
    roi_head=dict(
        bbox_head=[dict(head, num_classes=16) for head in _base_.model.roi_head.bbox_head]
    )
)
train_dataloader = dict(dataset=dict(type="DOTAv15Dataset", data_root="data/split_ss_dota1_5/"))
val_dataloader = dict(dataset=dict(type="DOTAv15Dataset", data_root="data/split_ss_dota1_5/"))
test_dataloader = dict(dataset=dict(type="DOTAv15Dataset", data_root="data/split_ss_dota1_5/"))
