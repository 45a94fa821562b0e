"""Rotated RetinaNet, horizontal anchors, oc: GWD on DOTA-v2.0, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train with
python tools/train.py configs/rotated_losses/rotated-retinanet-hbox-oc_r50_fpn_gwd_1x_dotav2.py
Figure: the authors' (AlphaRotate), 46.65 AP50 on the test set, with GWD in another form. None
    measured here.
Weight: mmrotate's, for the same loss.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./rotated-retinanet-hbox-oc_r50_fpn_gwd_1x_dota.py"

model = dict(bbox_head=dict(num_classes=18))
train_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
val_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
test_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
