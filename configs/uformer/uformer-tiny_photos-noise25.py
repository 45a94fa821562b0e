"""A tiny Uformer (arXiv 2106.03106) on photographs with noise of sigma 25, for two CPU cores.

python tools/dataset_converters/photos.py
python tools/train.py configs/uformer/uformer-tiny_photos-noise25.py
"""

_base_ = ["../_base_/restoration_runtime.py", "../_base_/datasets/photos_restoration.py"]

# About nine minutes of one core.
max_iters = 2200

model = dict(
    type="mmext.ImageRestorer",
    data_preprocessor=dict(type="mmext.RestorationDataPreprocessor"),
    generator=dict(
        type="mmext.Uformer",
        embed_dim=16,
        depths=(1, 1, 1, 1, 1, 1, 1, 1, 1),
        # Fewer than Uformer's (one per 16 channels) on the fine levels, where they take time.
        num_heads=(1, 1, 2, 4, 8, 8, 4, 2, 1),
        # Minutes are too few to overfit, or to unlearn large random modulators.
        drop_path_rate=0.0,
        modulator_std=0.02,
        # It starts as the identity: it loses no steps to unlearning its own noise.
        init_cfg=dict(type="Constant", val=0, layer=[], override=dict(name="head")),
    ),
    losses=dict(loss_psnr=dict(type="mmext.PSNRLoss")),
)

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=2e-3, betas=(0.9, 0.99), weight_decay=0.02),
    clip_grad=dict(max_norm=50.0),
)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters // 4)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=max_iters // 20),
    dict(
        type="CosineAnnealingLR",
        by_epoch=False,
        begin=max_iters // 20,
        end=max_iters,
        T_max=max_iters - max_iters // 20,
        eta_min_ratio=0.01,
    ),
]

default_hooks = dict(
    logger=dict(type="LoggerHook", interval=10, log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=max_iters // 4, max_keep_ckpts=2),
)
log_processor = dict(type="LogProcessor", window_size=10, by_epoch=False)
randomness = dict(seed=0)
