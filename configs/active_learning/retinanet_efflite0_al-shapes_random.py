"""Active learning on shapes, random selection: what every other selection is compared with.

python tools/dataset_converters/al_shapes.py
python tools/train.py configs/active_learning/retinanet_efflite0_al-shapes_random.py

mmdet's RetinaNet on EfficientNet-Lite0, for a CPU. Of a pool of 600 images 30 are labelled at
first, 5 %; in each of four cycles the detector is trained anew, then 30 more are labelled. Seven of
ten images teach little. Further seeds: ``--cfg-options randomness.seed=1``.
"""

_base_ = [
    "../_base_/models/retinanet_efflite0.py",
    "../_base_/datasets/al_shapes_detection.py",
    "../_base_/schedules/active_learning_small.py",
]

model = dict(bbox_head=dict(num_classes=5, anchor_generator=dict(ratios=[1.0])))

train_cfg = dict(
    cycles=4,
    budget=dict(initial=30, step=30),
    # As many passes as MI-AOD makes over the labelled images.
    phases=[dict(name="train", epochs=2, repeat=13)],
    scoring=dict(batch_size=16),
)
