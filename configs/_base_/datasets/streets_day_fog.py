"""Rendered streets: ``game`` with labels, ``day`` and ``fog`` without; both are tested.

The rest is that of ``streets_segmentation.py``.
"""

_base_ = ["streets_segmentation.py"]

streets = dict(type="mmext.StreetsDataset", data_root="data/streets")
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
    dataset=dict(
        targets=dict(
            _delete_=True,
            day=dict(**streets, domain="day", pipeline=target_pipeline),
            fog=dict(**streets, domain="fog", pipeline=target_pipeline),
        )
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="mmext.DomainConcatDataset",
        datasets=dict(
            day=dict(**streets, domain="day", split="val", pipeline=test_pipeline),
            fog=dict(**streets, domain="fog", split="val", pipeline=test_pipeline),
        ),
    )
)
test_dataloader = val_dataloader
