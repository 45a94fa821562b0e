"""Rendered scans of rooms, axis-aligned boxes of 10 classes: 300 scenes to train on, 60 to test.

Written by ``python tools/dataset_converters/rooms.py``. The scenes of ``rooms.py``, in the frame of
their walls; ``rooms_aligned_other.pkl`` has rooms of another style.
"""

_base_ = ["rooms.py"]

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
    dataset=dict(ann_file="rooms_aligned_train.pkl", pipeline=train_pipeline),
)
val_dataloader = dict(
    dataset=dict(ann_file="rooms_aligned_val.pkl", pipeline=test_pipeline),
)
test_dataloader = val_dataloader
