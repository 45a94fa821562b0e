"""Group-Free-3D (arXiv 2104.00678) on ScanNet V2, wide backbone, 12 layers, 256 candidates.

Published: mAP@0.25 / 0.5 68.8 / 52.1.

python tools/train.py configs/group_free3d/group-free3d_w2-l12-o256_scannet.py
"""

_base_ = [
    "../_base_/indoor3d_runtime.py",
    "../_base_/datasets/scannet3d.py",
    "../_base_/models/group_free3d_scannet.py",
    "../_base_/schedules/group_free3d_scannet.py",
]

model = dict(backbone=dict(width=2), decoder=dict(num_layers=12))
