"""Group-Free-3D (arXiv 2104.00678) on SUN RGB-D, 6 layers, 256 candidates.

Published: mAP@0.25 / 0.5 63.0 / 45.2, with ground truth whose sizes are those of axis-aligned
hulls, in training and in the metric. Here sizes are true ones; ``hull_size_gt=True`` of
``val_evaluator`` computes the metric as the authors do.

python tools/train.py configs/group_free3d/group-free3d_l6-o256_sunrgbd.py
"""

_base_ = [
    "../_base_/indoor3d_runtime.py",
    "../_base_/datasets/sunrgbd3d.py",
    "../_base_/models/group_free3d_sunrgbd.py",
    "../_base_/schedules/group_free3d_sunrgbd.py",
]
