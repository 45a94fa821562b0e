"""Rendered streets, 192 x 96 pixels, 9 classes: ``game`` with labels, ``day`` and ``fog`` without.

Written by ``python tools/dataset_converters/streets.py``.
"""

_base_ = ["streets_segmentation.py"]

streets = dict(type="mmext.StreetsDataset", data_root="data/streets")
labelled = dict(**streets, pipeline={{_base_.source_pipeline}})
unlabelled = dict(**streets, pipeline={{_base_.target_pipeline}})
tested = dict(**streets, split="val", pipeline={{_base_.test_pipeline}})

train_dataloader = dict(
    dataset=dict(
        sources=dict(_delete_=True, game=dict(**labelled, domain="game")),
        targets=dict(
            _delete_=True,
            day=dict(**unlabelled, domain="day"),
            fog=dict(**unlabelled, domain="fog"),
        ),
    )
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="mmext.DomainConcatDataset",
        datasets=dict(day=dict(**tested, domain="day"), fog=dict(**tested, domain="fog")),
    )
)
test_dataloader = val_dataloader
