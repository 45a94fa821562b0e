"""Rendered streets: ``game`` and 20 images of ``day`` with labels, all of ``day`` without.

The rest is that of ``streets_segmentation.py``.
"""

_base_ = ["streets_segmentation.py"]

train_dataloader = dict(
    dataset=dict(
        sources=dict(
            few=dict(
                type="mmext.StreetsDataset",
                data_root="data/streets",
                domain="day",
                indices=20,
                pipeline={{_base_.source_pipeline}},
            )
        )
    )
)
