"""GTA5 and Synscapes with labels to Cityscapes without, in the colours of Cityscapes.

Sizes are those of ``gta5_cityscapes.py``, and 1280 x 640 for Synscapes. An image of a source gets
the LAB statistics of a random image of the target whenever it is loaded. Expected below
``data/``: ``synscapes/img/rgb``, ``synscapes/img/class``, and GTA5 and Cityscapes as there.
"""

_base_ = ["gta5_cityscapes.py"]

pillow = dict(type="Resize", keep_ratio=False, interpolation="bicubic", backend="pillow")
colours = dict(type="mmext.LABStatTransfer", reference="data/cityscapes/leftImg8bit/train")
gta5_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmext.LoadLabelIds"),
    dict(**pillow, scale=(1280, 720)),
    colours,
    dict(type="PackSegInputs"),
]
synscapes_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmext.LoadLabelIds"),
    dict(**pillow, scale=(1280, 640)),
    colours,
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            _delete_=True,
            gta5=dict(type="mmext.GTA5Dataset", data_root="data/gta5", pipeline=gta5_pipeline),
            synscapes=dict(
                type="mmext.SynscapesDataset",
                data_root="data/synscapes",
                pipeline=synscapes_pipeline,
            ),
        )
    )
)
