"""Photographs with Gaussian noise of sigma 25: 144 windows to train on, four others to test.

Written by ``python tools/dataset_converters/photos.py``. Other degradations lie beside
``noise25``: set ``data_prefix=dict(img=...)`` of the three data sets.
"""

data_root = "data/photos/"
train_pipeline = [
    dict(type="mmext.LoadImagePair"),
    dict(type="mmext.PairedRandomCrop", crop_size=64),
    dict(type="mmext.RandomDihedral"),
    # The training photographs show few colours.
    dict(type="mmext.RandomChannelOrder"),
    dict(type="mmext.PackRestorationInputs"),
]
test_pipeline = [dict(type="mmext.LoadImagePair"), dict(type="mmext.PackRestorationInputs")]
prefix = dict(img="noise25", gt="clean")

train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="mmext.PairedImageDataset",
        data_root=data_root + "train",
        data_prefix=prefix,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmext.PairedImageDataset",
        data_root=data_root + "val",
        data_prefix=prefix,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmext.PairedImageDataset",
        data_root=data_root + "test",
        data_prefix=prefix,
        pipeline=test_pipeline,
    ),
)

val_evaluator = dict(type="mmext.PSNR")
test_evaluator = [dict(type="mmext.PSNR"), dict(type="mmext.SSIM", protocol="gaussian")]
