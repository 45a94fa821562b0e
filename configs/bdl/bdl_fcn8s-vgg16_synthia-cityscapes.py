"""BDL (arXiv 1904.10620), FCN-8s VGG-16, SYNTHIA to Cityscapes: 39.0 mIoU of 16 classes.

python tools/convert_checkpoint.py fcn8s OFFICIAL_INIT.pth checkpoints/fcn8s_vgg16_synthia.pth
python tools/train.py configs/bdl/bdl_fcn8s-vgg16_synthia-cityscapes.py

Trained with 19 classes, of which SYNTHIA shows 16; the published figure is ``mIoU16``.
"""

_base_ = [
    "../_base_/segmentation_runtime.py",
    "../_base_/datasets/synthia_cityscapes.py",
    "../_base_/models/bdl_fcn8s_vgg16.py",
    "../_base_/schedules/bdl.py",
]

init = dict(type="Pretrained", checkpoint="checkpoints/fcn8s_vgg16_synthia.pth")
model = dict(segmentor=dict(init_cfg=init))

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
