"""R3Det, oc: KLD on DOTA-v2.0, 12 epochs.

Paper: Learning High-Precision Bounding Box for Rotated Object Detection via Kullback-Leibler
    Divergence, arXiv 2106.01883.
Train: python tools/train.py configs/rotated_losses/r3det-oc_r50_fpn_kld_1x_dotav2.py
Figure: the authors' (AlphaRotate), 50.90 AP50 on the test set. None measured here.
Weight: mmrotate's, for the same loss in both stages.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./r3det-oc_r50_fpn_kld_1x_dota.py"

model = dict(
    bbox_head_init=dict(num_classes=18),
    bbox_head_refine=[dict(_base_.model.bbox_head_refine[0], num_classes=18)],
)
train_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
val_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
test_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
