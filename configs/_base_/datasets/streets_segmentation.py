"""Rendered streets, 192 x 96 pixels, 9 classes: ``game`` with labels, ``day`` without.

Written by ``python tools/dataset_converters/streets.py``. 300 images of each domain to learn from;
the 100 of ``day`` that are tested show other streets.
"""

data_root = "data/streets"

source_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmext.LoadLabelIds"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
target_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmext.LoadLabelIds"),
    dict(type="PackSegInputs"),
]

train_dataloader = dict(
    batch_size=2,  # of each domain
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="mmext.MultiDomainSampler"),
    dataset=dict(
        type="mmext.MultiDomainDataset",
        sources=dict(
            source=dict(
                type="mmext.StreetsDataset",
                data_root=data_root,
                domain="game",
                pipeline=source_pipeline,
            )
        ),
        targets=dict(
            target=dict(
                type="mmext.StreetsDataset",
                data_root=data_root,
                domain="day",
                pipeline=target_pipeline,
            )
        ),
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmext.StreetsDataset",
        data_root=data_root,
        domain="day",
        split="val",
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmext.UDAIoUMetric")
test_evaluator = val_evaluator
