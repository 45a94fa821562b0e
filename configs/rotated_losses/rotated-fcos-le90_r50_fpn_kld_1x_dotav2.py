"""Rotated FCOS, le90: KLD on DOTA-v2.0, 12 epochs.

Paper: Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence, arXiv 2106.01883.
Train: python tools/train.py configs/rotated_losses/rotated-fcos-le90_r50_fpn_kld_1x_dotav2.py
Figure: none published, none measured here.
Weight: that of the rotated IoU loss in this place, and mmrotate's.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./rotated-fcos-le90_r50_fpn_kld_1x_dota.py"

model = dict(bbox_head=dict(num_classes=18))
train_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
val_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
test_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
