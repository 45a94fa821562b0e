"""SUN RGB-D: oriented boxes of 10 classes, 5285 scenes to train on, 5050 to test.

Info files and points as mmdet3d prepares them; docs/detection3d.md says how to use VoteNet's files.
The recipe of Group-Free-3D: 20 000 points, mirrored left to right, turned by at most 30 degrees,
scaled by 0.85 to 1.15. Its authors train with boxes of other sizes: see ``IndoorMetric``.
"""

data_root = "data/sunrgbd/"
data_prefix = dict(pts="points")
train_pipeline = [
    dict(type="mmext.LoadPoints"),
    dict(type="mmext.LoadIndoorAnnotations"),
    dict(type="mmext.AssignPointInstances"),
    dict(type="mmext.RandomFlip3D", prob_y=0.0),
    dict(
        type="mmext.GlobalRotScale",
        rot_range=(-0.523599, 0.523599),  # 30 degrees
        scale_range=(0.85, 1.15),
    ),
    dict(type="mmext.PointSample", num_points=20000),
    dict(type="mmext.PackIndoorInputs"),
]
test_pipeline = [
    dict(type="mmext.LoadPoints"),
    dict(type="mmext.LoadIndoorAnnotations", with_masks=False),
    dict(type="mmext.PointSample", num_points=20000, seed=0),
    dict(type="mmext.PackIndoorInputs"),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="mmext.SUNRGBDDet3DDataset",
        data_root=data_root,
        ann_file="sunrgbd_infos_train.pkl",
        data_prefix=data_prefix,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmext.SUNRGBDDet3DDataset",
        data_root=data_root,
        ann_file="sunrgbd_infos_val.pkl",
        data_prefix=data_prefix,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmext.IndoorMetric")
test_evaluator = val_evaluator
