"""GTA5 and SYNTHIA with labels to Cityscapes without, in the colours of Cityscapes.

Sizes are those of ``gta5_cityscapes.py``, and 1280 x 760 for SYNTHIA, which has 16 of the 19
classes. An image of a source gets the LAB statistics of a random image of the target whenever it is
loaded. Expected below ``data/``: ``synthia/RGB``, ``synthia/GT/LABELS``, and GTA5 and Cityscapes as
there.
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
synthia_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmext.LoadLabelIds"),
    dict(**pillow, scale=(1280, 760)),
    colours,
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            _delete_=True,
            gta5=dict(type="mmext.GTA5Dataset", data_root="data/gta5", pipeline=gta5_pipeline),
            synthia=dict(
                type="mmext.SynthiaDataset", data_root="data/synthia", pipeline=synthia_pipeline
            ),
        )
    )
)
