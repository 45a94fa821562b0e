"""Oriented R-CNN, le90: GWD on DOTA-v2.0, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/oriented-rcnn-le90_r50_fpn_gwd_1x_dotav2.py
Figure: none published, none measured here.
Weight: mmdet's for GIoU in this place; the sum is divided by the number of all samples.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./oriented-rcnn-le90_r50_fpn_gwd_1x_dota.py"

model = dict(roi_head=dict(bbox_head=dict(num_classes=18)))
train_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
val_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
test_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
