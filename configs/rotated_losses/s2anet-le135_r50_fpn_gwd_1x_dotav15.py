"""S2ANet, le135: GWD on DOTA-v1.5, 12 epochs.

Paper: Rethinking Rotated Object Detection with Gaussian Wasserstein Distance Loss, arXiv
    2101.11952.
Train: python tools/train.py configs/rotated_losses/s2anet-le135_r50_fpn_gwd_1x_dotav15.py
Figure: none published, none measured here.
Weight: mmrotate's for the same loss in RetinaNet. As in R3Det the first stage keeps smooth L1.
Hardware: written for one GPU with 2 images.
"""

_base_ = "./s2anet-le135_r50_fpn_gwd_1x_dota.py"

model = dict(
    bbox_head_init=dict(num_classes=16),
    bbox_head_refine=[dict(_base_.model.bbox_head_refine[0], num_classes=16)],
)
train_dataloader = dict(dataset=dict(type="DOTAv15Dataset", data_root="data/split_ss_dota1_5/"))
val_dataloader = dict(dataset=dict(type="DOTAv15Dataset", data_root="data/split_ss_dota1_5/"))
test_dataloader = dict(dataset=dict(type="DOTAv15Dataset", data_root="data/split_ss_dota1_5/"))
