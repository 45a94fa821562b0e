"""A small Group-Free-3D (arXiv 2104.00678) on rendered rooms in the frame of their walls.

Boxes are aligned with the axes, as in ScanNet; for some minutes of one core.

python tools/dataset_converters/rooms.py
python tools/train.py configs/group_free3d/group-free3d_rooms-aligned.py
"""

_base_ = [
    "../_base_/indoor3d_runtime.py",
    "../_base_/datasets/rooms_aligned.py",
    "../_base_/models/group_free3d_rooms.py",
    "../_base_/schedules/indoor3d_small.py",
]

model = dict(num_heading_bins=1)
