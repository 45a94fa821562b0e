"""Rotated RetinaNet, rotated anchors, le135: GWD on DOTA-v1.5, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train with
python tools/train.py configs/rotated_losses/rotated-retinanet-rbox-le135_r50_fpn_gwd_1x_dotav15.py
Figure: none published, none measured here.
Weight: mmrotate's, for the same loss.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./rotated-retinanet-rbox-le135_r50_fpn_gwd_1x_dota.py"

model = dict(bbox_head=dict(num_classes=16))
train_dataloader = dict(dataset=dict(type="DOTAv15Dataset", data_root="data/split_ss_dota1_5/"))
val_dataloader = dict(dataset=dict(type="DOTAv15Dataset", data_root="data/split_ss_dota1_5/"))
test_dataloader = dict(dataset=dict(type="DOTAv15Dataset", data_root="data/split_ss_dota1_5/"))
