"""SIDD-Medium sRGB: 96 000 patches to train on, the 1280 validation blocks to validate and test.

data/sidd/train/{input,groundtruth}   tools/dataset_converters/sidd_patches.py
data/sidd/ValidationNoisyBlocksSrgb.mat, ValidationGtBlocksSrgb.mat   from the benchmark's page

The figure of the papers: predictions of whole blocks, not rounded, PSNR per RGB block, MATLAB's
volumetric SSIM.
"""

data_root = "data/sidd/"
train_pipeline = [
    dict(type="mmext.LoadImagePair"),
    dict(type="mmext.PairedRandomCrop", crop_size=128),
    dict(type="mmext.RandomDihedral"),
    dict(type="mmext.PackRestorationInputs"),
]

# The batch of 32 was split over two GPUs.
train_dataloader = dict(
    batch_size=16,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="mmext.PairedImageDataset",
        data_root=data_root + "train",
        data_prefix=dict(img="input", gt="groundtruth"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmext.SIDDBlocks",
        data_root=data_root,
        pipeline=[dict(type="mmext.PackRestorationInputs")],
    ),
)
test_dataloader = val_dataloader

val_evaluator = [dict(type="mmext.PSNR"), dict(type="mmext.SSIM", protocol="matlab3d")]
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=32)
