"""Rendered streets: ``game`` and ``arcade`` with labels, ``day`` without.

Images of the sources get the colour statistics of a random image of the target whenever they are
loaded. The rest is that of ``streets_segmentation.py``.
"""

_base_ = ["streets_segmentation.py"]

data_root = "data/streets"
source_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmext.LABStatTransfer", reference=f"{data_root}/day/leftImg8bit/train"),
    dict(type="mmext.LoadLabelIds"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
streets = dict(type="mmext.StreetsDataset", data_root=data_root, pipeline=source_pipeline)
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            _delete_=True,
            game=dict(**streets, domain="game"),
            arcade=dict(**streets, domain="arcade"),
        )
    )
)
