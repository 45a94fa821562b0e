"""Rendered scans of rooms, axis-aligned boxes of 10 classes: 300 scenes to train on, 60 to test.

Written by ``python tools/dataset_converters/rooms.py``. The scenes of ``rooms.py``, in the frame of
their walls; ``rooms_aligned_other.pkl`` has rooms of another style.
"""

data_root = "data/rooms/"
metainfo = dict(
    classes=(
        "bed",
        "sofa",
        "chair",
        "table",
        "desk",
        "night_stand",
        "drawer",
        "dresser",
        "cabinet",
        "bookshelf",
    )
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
        scale_range=(0.9, 1.1),
        axis_aligned=True,
    ),
    dict(type="mmext.PointSample", num_points=4096),
    dict(type="mmext.PackIndoorInputs"),
]
test_pipeline = [
    dict(type="mmext.LoadPoints"),
    dict(type="mmext.LoadIndoorAnnotations", with_masks=False),
    dict(type="mmext.GlobalAlign"),
    dict(type="mmext.PointSample", num_points=4096, seed=0),
    dict(type="mmext.PackIndoorInputs"),
]

train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="mmext.IndoorDet3DDataset",
        data_root=data_root,
        ann_file="rooms_aligned_train.pkl",
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmext.IndoorDet3DDataset",
        data_root=data_root,
        ann_file="rooms_aligned_val.pkl",
        metainfo=metainfo,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="mmext.IndoorMetric")
test_evaluator = val_evaluator
