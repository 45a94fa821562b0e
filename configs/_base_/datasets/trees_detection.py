"""Tree crowns in real aerial photographs: 448-px windows of one scene to train on.

Written by ``python tools/dataset_converters/trees.py``. ``validation`` is another scene of the same
flight (16 tiles, 232 boxes), ``cross`` two other sites (98 boxes). The windows are scaled, turned
and cropped to 256 px: with one scene to learn from, variety decides, not minutes.
"""

dataset_type = "CocoDataset"
data_root = "data/trees/"
metainfo = dict(classes=("tree",), palette=[(255, 196, 0)])

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=(448, 448), ratio_range=(0.6, 1.6), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(256, 256), allow_negative_crop=True),
    dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    # A quarter turn: with the flips, all eight ways to lay an aerial photograph on the table.
    dict(type="Rotate", prob=0.5, level=0, min_mag=90.0, max_mag=90.0),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    # The tiles keep their size; this sets the scale factor that the results are divided by.
    dict(type="Resize", scale_factor=1.0),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file="annotations/train_wide.json",
        data_prefix=dict(img=""),
        # Windows without a tree teach what is none.
        filter_cfg=dict(filter_empty_gt=False),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file="annotations/validation.json",
        data_prefix=dict(img=""),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        ann_file="annotations/test.json",
        data_prefix=dict(img=""),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

val_evaluator = dict(
    type="CocoMetric", ann_file=data_root + "annotations/validation.json", metric="bbox"
)
test_evaluator = [
    dict(
        type="mmext.CocoSubsetMetric",
        ann_file=data_root + "annotations/validation.json",
        metric="bbox",
        prefix="validation",
    ),
    dict(
        type="mmext.CocoSubsetMetric",
        ann_file=data_root + "annotations/cross.json",
        metric="bbox",
        prefix="cross",
    ),
]
