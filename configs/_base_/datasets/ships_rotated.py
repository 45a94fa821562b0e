"""Rendered vessels over photographs (mmext.embedded.ships) at 256 px, DOTA txt.

Written by ``python tools/dataset_converters/ships.py``. Difficult objects (mostly hidden or outside
the image) are trained on; the evaluation counts them neither as found nor as missed.
"""

dataset_type = "DOTADataset"
data_root = "data/ships/"
metainfo = dict(
    classes=("raft", "tug", "ferry", "barge"),
    palette=[(255, 225, 77), (63, 217, 255), (255, 120, 220), (255, 120, 50)],
)

train_pipeline = [
    dict(type="mmdet.LoadImageFromFile"),
    dict(type="mmdet.LoadAnnotations", with_bbox=True, box_type="qbox"),
    dict(type="ConvertBoxType", box_type_mapping=dict(gt_bboxes="rbox")),
    dict(type="mmdet.RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="mmdet.PhotoMetricDistortion"),
    dict(type="mmdet.PackDetInputs"),
]
test_pipeline = [
    dict(type="mmdet.LoadImageFromFile"),
    dict(type="mmdet.LoadAnnotations", with_bbox=True, box_type="qbox"),
    dict(type="ConvertBoxType", box_type_mapping=dict(gt_bboxes="rbox")),
    # The images keep their size; this sets the scale factor that the results are divided by.
    dict(type="mmdet.Resize", scale_factor=1.0),
    dict(
        type="mmdet.PackDetInputs",
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
        ann_file="train/annfiles/",
        data_prefix=dict(img_path="train/images/"),
        img_suffix="jpg",
        filter_cfg=dict(filter_empty_gt=True),
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
        ann_file="val/annfiles/",
        data_prefix=dict(img_path="val/images/"),
        img_suffix="jpg",
        diff_thr=0,
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
        ann_file="test/annfiles/",
        data_prefix=dict(img_path="test/images/"),
        img_suffix="jpg",
        diff_thr=0,
        test_mode=True,
        pipeline=test_pipeline,
    ),
)

val_evaluator = dict(
    type="mmext.RotatedDetectionMetric",
    iou_thrs=(0.5, 0.75, 0.85),
    eval_mode="area",
    # Between the classes' ratios of length to width: raft, tug, ferry, barge.
    aspect_bins=(1, 1.5, 3.2, 6.5),
)
test_evaluator = val_evaluator
