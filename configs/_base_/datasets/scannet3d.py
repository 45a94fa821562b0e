"""ScanNet V2: axis-aligned boxes of 18 classes, 1201 scenes to train on, 312 to test.

Info files and points as mmdet3d prepares them; docs/detection3d.md says how to use VoteNet's files.
The recipe of Group-Free-3D: 50 000 points, mirrored, turned by at most 5 degrees.
"""

data_root = "data/scannet/"
data_prefix = dict(
    pts="points", pts_instance_mask="instance_mask", pts_semantic_mask="semantic_mask"
)
train_pipeline = [
    dict(type="mmext.LoadPoints"),
    dict(type="mmext.LoadIndoorAnnotations"),
    dict(type="mmext.GlobalAlign"),
    dict(type="mmext.PointSegMap"),
    dict(type="mmext.AssignPointInstances"),
    dict(type="mmext.RandomFlip3D"),
    dict(
        type="mmext.GlobalRotScale",
        rot_range=(-0.087266, 0.087266),  # 5 degrees
        axis_aligned=True,
    ),
    dict(type="mmext.PointSample", num_points=50000),
    dict(type="mmext.PackIndoorInputs"),
]
test_pipeline = [
    dict(type="mmext.LoadPoints"),
    dict(type="mmext.LoadIndoorAnnotations", with_masks=False),
    dict(type="mmext.GlobalAlign"),
    dict(type="mmext.PointSample", num_points=50000, seed=0),
    dict(type="mmext.PackIndoorInputs"),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="mmext.ScanNetDet3DDataset",
        data_root=data_root,
        ann_file="scannet_infos_train.pkl",
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
        type="mmext.ScanNetDet3DDataset",
        data_root=data_root,
        ann_file="scannet_infos_val.pkl",
        data_prefix=data_prefix,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmext.IndoorMetric")
test_evaluator = val_evaluator
