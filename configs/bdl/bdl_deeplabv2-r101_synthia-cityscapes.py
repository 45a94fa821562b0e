"""BDL (arXiv 1904.10620), DeepLab-v2 ResNet-101, SYNTHIA to Cityscapes: 51.4 mIoU of 13 classes.

python tools/convert_checkpoint.py deeplabv2 OFFICIAL_INIT.pth checkpoints/deeplabv2_r101_init.pth
python tools/train.py configs/bdl/bdl_deeplabv2-r101_synthia-cityscapes.py

Trained with 19 classes, of which SYNTHIA shows 16; the published figure is ``mIoU13``.
"""

_base_ = [
    "../_base_/segmentation_runtime.py",
    "../_base_/datasets/synthia_cityscapes.py",
    "../_base_/models/bdl_deeplabv2_r101.py",
    "../_base_/schedules/bdl.py",
]

init = dict(type="Pretrained", checkpoint="checkpoints/deeplabv2_r101_init.pth")
model = dict(segmentor=dict(backbone=dict(init_cfg=init)))

# Translators see other sizes and fewer images: 20 epochs of 9,400.
schedule = dict(
    translator=dict(
        scale=(1024, 608),
        train_cfg=dict(max_iters=47_000),
        param_scheduler=[
            dict(
                type="LinearLR",
                start_factor=1.0,
                end_factor=0.0,
                by_epoch=False,
                begin=23_500,
                end=47_000,
            )
        ],
    )
)
