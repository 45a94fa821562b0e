"""Uformer-B (arXiv 2106.03106) on DPDD (defocus, dual pixel); published: 26.28 dB, SSIM 0.891.

The sources give the network and the data set, not the training: crop, batch, epochs and mix-up
below are those of denoising, and open. 16-bit pairs are
expected in ``data/dpdd/{train,test}/{input,input_right,groundtruth}``: left view, right view,
target. Six channels go in, so nothing is added to the input at the end.

python tools/train.py configs/uformer/uformer-b_dpdd.py
"""

_base_ = [
    "../_base_/restoration_runtime.py",
    "../_base_/schedules/uformer_250e.py",
]

model = dict(
    type="mmext.ImageRestorer",
    data_preprocessor=dict(type="mmext.RestorationDataPreprocessor"),
    generator=dict(type="mmext.Uformer", arch="B", dd_in=6),
    losses=dict(loss_charbonnier=dict(type="mmext.CharbonnierLoss", eps=1e-3)),
)

data_root = "data/dpdd/"
prefix = dict(img="input", gt="groundtruth", view="input_right")
train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="mmext.PairedImageDataset",
        data_root=data_root + "train",
        data_prefix=prefix,
        pipeline=[
            dict(type="mmext.LoadImagePair"),
            dict(type="mmext.PairedRandomCrop", crop_size=128),
            dict(type="mmext.RandomDihedral"),
            dict(type="mmext.PackRestorationInputs"),
        ],
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmext.PairedImageDataset",
        data_root=data_root + "test",
        data_prefix=prefix,
        pipeline=[dict(type="mmext.LoadImagePair"), dict(type="mmext.PackRestorationInputs")],
    ),
)
val_dataloader = test_dataloader
test_evaluator = [
    dict(type="mmext.PSNR"),
    dict(type="mmext.SSIM", protocol="gaussian"),
]
val_evaluator = test_evaluator
auto_scale_lr = dict(base_batch_size=32)
