"""The trees as 256-px tiles with flips and colour only, merged over a model's config.

The recipe that the peers' first figures were measured with. What it lacks against ``trees`` is the
demo's scaling, cropping and turning of larger windows.
"""

num_classes = 1
train_dataloader = dict(
    dataset=dict(
        ann_file="annotations/train.json",
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True),
            dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
            dict(type="PhotoMetricDistortion"),
            dict(type="PackDetInputs"),
        ],
    )
)
