"""SYNTHIA-RAND-CITYSCAPES with labels to Cityscapes without, resized as by BDL (arXiv 1904.10620).

1280 x 760 and 1024 x 512 pixels. SYNTHIA has 16 of the 19 classes: ``mIoU16`` is the figure, and
``mIoU13`` the one beside older papers. Expected below ``data/``: ``synthia/RGB``,
``synthia/GT/LABELS``, and Cityscapes as in ``gta5_cityscapes.py``.
"""

_base_ = ["gta5_cityscapes.py"]

source_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="mmext.LoadLabelIds"),
    dict(
        type="Resize",
        scale=(1280, 760),
        keep_ratio=False,
        interpolation="bicubic",
        backend="pillow",
    ),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(
    dataset=dict(
        sources=dict(
            source=dict(
                type="mmext.SynthiaDataset", data_root="data/synthia", pipeline=source_pipeline
            )
        )
    )
)
