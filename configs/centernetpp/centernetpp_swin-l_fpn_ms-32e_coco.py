"""CenterNet++ with a Swin-L, 32 epochs of AdamW at several scales (official name: 3x).

Paper: CenterNet++ for Object Detection, arXiv 2204.08394.
Train: python tools/train.py configs/centernetpp/centernetpp_swin-l_fpn_ms-32e_coco.py
Paper's figure: 53.2 AP on test-dev, 57.1 with test-time augmentation (--tta).
Hardware: written for 8 GPUs with 2 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernetpp_r50_fpn-gn_ms-2x_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="SwinTransformer",
        pretrain_img_size=384,
        embed_dims=192,
        depths=[2, 2, 18, 2],
        num_heads=[6, 12, 24, 48],
        window_size=12,
        mlp_ratio=4,
        qkv_bias=True,
        drop_path_rate=0.3,
        patch_norm=True,
        # The stage of stride 4 has no part in the pyramid, so it gets no output norm either.
        out_indices=(1, 2, 3),
        with_cp=True,
        convert_weights=True,
        init_cfg=dict(
            type="Pretrained",
            checkpoint="https://github.com/SwinTransformer/storage/releases/download/v1.0.0/"
            "swin_large_patch4_window12_384_22k.pth",
        ),
    ),
    # The official file takes all four stages and gets strides of 4 to 64, where its head counts on
    # 8 to 128. This is the pyramid of the other backbones, without norm as in that file.
    neck=dict(
        _delete_=True,
        type="FPN",
        in_channels=[384, 768, 1536],
        out_channels=256,
        start_level=0,
        add_extra_convs="on_input",
        num_outs=5,
    ),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=0.0001, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            "absolute_pos_embed": dict(decay_mult=0.0),
            "relative_position_bias_table": dict(decay_mult=0.0),
            "norm": dict(decay_mult=0.0),
        }
    ),
)
max_epochs = 32
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type="MultiStepLR",
        begin=0,
        end=max_epochs,
        by_epoch=True,
        milestones=[21, 27],
        gamma=0.1,
    ),
]
