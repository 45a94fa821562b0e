"""Active learning on tree crowns, random selection: what every other selection is compared with.

python tools/dataset_converters/trees.py
python tools/train.py configs/active_learning/retinanet_efflite0_trees_random.py

mmdet's RetinaNet on EfficientNet-Lite, for two CPU cores. The pool are 288 tiles of one scene, of
which 24 are labelled at first; in each of five cycles the detector is trained anew and validated on
another scene, then 24 more are labelled. Further seeds: ``--cfg-options randomness.seed=1``.
"""

_base_ = [
    "../_base_/models/retinanet_efflite0.py",
    "../_base_/datasets/trees_detection.py",
    "../_base_/schedules/active_learning_small.py",
]

model = dict(
    bbox_head=dict(
        num_classes=1,
        # Crowns of 15 to 60 px are found on the map of stride 8.
        anchor_generator=dict(octave_base_scale=2, scales_per_octave=3, ratios=[1.0]),
    ),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=(256, 256), ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(192, 192), allow_negative_crop=True),
    dict(type="RandomFlip", prob=0.75, direction=["horizontal", "vertical", "diagonal"]),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(
    sampler=dict(_delete_=True, type="DefaultSampler", shuffle=True),
    dataset=dict(ann_file="annotations/train.json", pipeline=train_pipeline),
)

train_cfg = dict(
    cycles=5,
    budget=dict(initial=24, step=24),
    # Twenty passes.
    phases=[dict(name="train", epochs=2, repeat=10)],
)
