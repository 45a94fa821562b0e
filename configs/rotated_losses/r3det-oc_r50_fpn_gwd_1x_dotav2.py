"""R3Det, oc: GWD on DOTA-v2.0, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/r3det-oc_r50_fpn_gwd_1x_dotav2.py
Figure: the authors' (AlphaRotate), 49.25 AP50 on the test set. None measured here.
Weight: the authors', for the same loss. As in the paper the first stage keeps smooth L1.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./r3det-oc_r50_fpn_gwd_1x_dota.py"

model = dict(
    bbox_head_init=dict(num_classes=18),
    bbox_head_refine=[dict(_base_.model.bbox_head_refine[0], num_classes=18)],
)
train_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
val_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
test_dataloader = dict(dataset=dict(type="DOTAv2Dataset", data_root="data/split_ss_dota2_0/"))
