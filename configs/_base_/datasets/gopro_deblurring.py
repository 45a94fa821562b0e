"""GoPro: 2103 frames to train on, 1111 to test.

data/gopro/{train,test}/{input,groundtruth}   tools/dataset_converters/gopro.py

Validated on the middle 256 pixels of the test frames, as the official code does; tested on whole
frames. ``SSIM_uniform_range2`` is the published protocol of Uformer, ``SSIM_matlab3d`` that of
MPRNet and Restormer; the two are not comparable.
"""

data_root = "data/gopro/"
train_pipeline = [
    dict(type="mmext.LoadImagePair"),
    dict(type="mmext.PairedRandomCrop", crop_size=256),
    dict(type="mmext.RandomDihedral"),
    dict(type="mmext.PackRestorationInputs"),
]
val_pipeline = [
    dict(type="mmext.LoadImagePair"),
    dict(type="mmext.PairedCenterCrop", crop_size=256),
    dict(type="mmext.PackRestorationInputs"),
]
test_pipeline = [dict(type="mmext.LoadImagePair"), dict(type="mmext.PackRestorationInputs")]

# The batch of 8 was split over two GPUs.
train_dataloader = dict(
    batch_size=4,
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
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmext.PairedImageDataset",
        data_root=data_root + "test",
        data_prefix=dict(img="input", gt="groundtruth"),
        pipeline=val_pipeline,
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
        data_prefix=dict(img="input", gt="groundtruth"),
        pipeline=test_pipeline,
    ),
)

val_evaluator = dict(type="mmext.PSNR")
test_evaluator = [
    dict(type="mmext.PSNR"),
    dict(type="mmext.SSIM", protocol="uniform_range2"),
    dict(type="mmext.SSIM", protocol="matlab3d", rounding="uint8"),
]
auto_scale_lr = dict(base_batch_size=8)
