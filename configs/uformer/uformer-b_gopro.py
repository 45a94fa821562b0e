"""Uformer-B (arXiv 2106.03106) on GoPro; published: 32.97 dB, SSIM_uniform_range2 0.967.

The recipe of the official code: 3000 epochs of 256-px crops, eight at a time. Its test scripts run
the network with ``model.generator.bottleneck_shift=False`` and a black square around each frame
(``model.test_cfg.pad_mode=square_zero model.test_cfg.pad_multiple=128``); for its figures give both
with ``--cfg-options``.

python tools/train.py configs/uformer/uformer-b_gopro.py
"""

_base_ = [
    "../_base_/restoration_runtime.py",
    "../_base_/datasets/gopro_deblurring.py",
    "../_base_/schedules/uformer_3000e.py",
]

model = dict(
    type="mmext.ImageRestorer",
    data_preprocessor=dict(type="mmext.RestorationDataPreprocessor"),
    generator=dict(type="mmext.Uformer", arch="B", bottleneck_shift=True),
    losses=dict(loss_charbonnier=dict(type="mmext.CharbonnierLoss", eps=1e-3)),
    test_cfg=dict(),
)
train_cfg = dict(val_interval=20)
default_hooks = dict(checkpoint=dict(interval=20))
