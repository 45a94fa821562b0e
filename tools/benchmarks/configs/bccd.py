"""Blood cells (BCCD, repository splits) at 320 x 240, merged over a model's config.

The data set does not come with mmext: it is read from ``$MMEXT_SHARED/data/bccd`` (COCO json below
``annotations``, pictures in ``images``; default ``../shared``).
"""

import os

num_classes = 3
data_root = os.environ.get("MMEXT_SHARED", "../shared") + "/data/bccd/"
metainfo = dict(classes=("RBC", "WBC", "Platelets"))
size = (320, 240)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=size, keep_ratio=True),
    dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=size, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

train_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img="images/"),
        pipeline=train_pipeline,
    )
)
test_dataloader = dict(
    dataset=dict(
        data_root=data_root,
        metainfo=metainfo,
        ann_file="annotations/instances_test.json",
        data_prefix=dict(img="images/"),
        pipeline=test_pipeline,
    )
)
val_dataloader = test_dataloader
test_evaluator = dict(
    type="CocoMetric",
    ann_file=data_root + "annotations/instances_test.json",
    metric="bbox",
    classwise=True,
    prefix="test",
)
val_evaluator = test_evaluator
