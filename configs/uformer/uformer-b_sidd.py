"""Uformer-B (arXiv 2106.03106) on SIDD; published: 39.89 dB, SSIM 0.960 (validation blocks).

The recipe of the official code: 750 000 iterations of 32 crops, batches mixed up from epoch 6 on.
It trains in float16 (``--amp``).

python tools/train.py configs/uformer/uformer-b_sidd.py
"""

_base_ = [
    "../_base_/restoration_runtime.py",
    "../_base_/datasets/sidd_denoising.py",
    "../_base_/schedules/uformer_250e.py",
]

model = dict(
    type="mmext.ImageRestorer",
    data_preprocessor=dict(
        type="mmext.RestorationDataPreprocessor", mixup_alpha=1.2, mixup_from_epoch=6
    ),
    generator=dict(type="mmext.Uformer", arch="B"),
    losses=dict(loss_charbonnier=dict(type="mmext.CharbonnierLoss", eps=1e-3)),
)
