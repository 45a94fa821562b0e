"""Real ships in harbours (images of HRSC2016 at half size), merged over a config of ``ships``.

The data set does not come with mmext: its images are read from ``$MMEXT_SHARED/data/hrsc_ships``
(default ``../shared``); the benchmark sets ``ann_file`` to a folder of label files per split.
"""

import os

num_classes = 1
data_root = os.environ.get("MMEXT_SHARED", "../shared") + "/data/hrsc_ships/"
metainfo = dict(classes=("ship",), palette=[(255, 225, 77)])
# About half of the files' size: ships are as large as the rendered ones.
resize = dict(type="mmdet.Resize", scale=(288, 288), keep_ratio=True)

train_pipeline = [
    dict(type="mmdet.LoadImageFromFile"),
    dict(type="mmdet.LoadAnnotations", with_bbox=True, box_type="qbox"),
    dict(type="ConvertBoxType", box_type_mapping=dict(gt_bboxes="rbox")),
    resize,
    dict(type="mmdet.RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="mmdet.PhotoMetricDistortion"),
    dict(type="mmdet.PackDetInputs"),
]
test_pipeline = [
    dict(type="mmdet.LoadImageFromFile"),
    resize,
    # After the resize: the ground truth stays in pixels of the file, as the results are.
    dict(type="mmdet.LoadAnnotations", with_bbox=True, box_type="qbox"),
    dict(type="ConvertBoxType", box_type_mapping=dict(gt_bboxes="rbox")),
    dict(
        type="mmdet.PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

dataset = dict(data_root=data_root, metainfo=metainfo, data_prefix=dict(img_path="images/"))
train_dataloader = dict(dataset=dict(**dataset, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(**dataset, pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(aspect_bins=(1, 5, 6.5, 8))
test_evaluator = val_evaluator
