"""BDL (arXiv 1904.10620), DeepLab-v2 ResNet-101, GTA5 to Cityscapes, as the paper has it.

python tools/convert_checkpoint.py deeplabv2 OFFICIAL_INIT.pth checkpoints/deeplabv2_r101_init.pth
python tools/train.py configs/bdl/bdl-paper_deeplabv2-r101_gta5-cityscapes.py

Differs from the official code: translations keep the segmentation by L1 instead of the squared
distance of normalised logits, pseudo labels are those above 0.9 in all classes, and each parameter
is updated once.
"""

_base_ = ["bdl_deeplabv2-r101_gta5-cityscapes.py"]

optim_wrapper = dict(
    segmentor=dict(
        _delete_=True,
        optimizer=dict(type="SGD", lr=2.5e-4, momentum=0.9, weight_decay=5e-4),
        paramwise_cfg=dict(custom_keys=dict(decode_head=dict(lr_mult=10))),
    )
)
schedule = dict(
    translator=dict(model=dict(semantic=dict(kind="l1"))),
    pseudo_labels=dict(kind="fixed", ceiling=0.9),
)
