"""GTA5 with labels to Cityscapes without, as BDL (arXiv 1904.10620) resizes them.

Whole images, not cropped, flipped or changed in colour; 1280 x 720 and 1024 x 512 pixels, resized
by Pillow as in the official code. Expected below ``data/``: ``gta5/images``, ``gta5/labels``,
``cityscapes/leftImg8bit`` and, for validation, ``cityscapes/gtFine`` with ``*_labelIds.png``.
"""

pillow = dict(type="Resize", keep_ratio=False, interpolation="bicubic", backend="pillow")
source_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmext.LoadLabelIds"),
    dict(**pillow, scale=(1280, 720)),
    dict(type="PackSegInputs"),
]
target_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(**pillow, scale=(1024, 512)),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(**pillow, scale=(1024, 512)),
    # Behind the resize: figures are those of the full size.
    dict(type="mmext.LoadLabelIds"),
    dict(type="PackSegInputs"),
]

train_dataloader = dict(
    batch_size=1,  # of each domain
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="mmext.MultiDomainSampler"),
    dataset=dict(
        type="mmext.MultiDomainDataset",
        sources=dict(
            source=dict(type="mmext.GTA5Dataset", data_root="data/gta5", pipeline=source_pipeline)
        ),
        targets=dict(
            target=dict(
                type="mmext.CityscapesDataset",
                data_root="data/cityscapes",
                pipeline=target_pipeline,
            )
        ),
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmext.CityscapesDataset",
        data_root="data/cityscapes",
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmext.UDAIoUMetric")
test_evaluator = val_evaluator
