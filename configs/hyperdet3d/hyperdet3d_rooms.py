"""A small HyperDet3D (CVPR 2022, reconstructed: no code was published) on rendered rooms.

python tools/dataset_converters/rooms.py
python tools/train.py configs/hyperdet3d/hyperdet3d_rooms.py
"""

_base_ = [
    "../_base_/indoor3d_runtime.py",
    "../_base_/datasets/rooms.py",
    "../_base_/models/hyperdet3d_rooms.py",
    "../_base_/schedules/hyperdet3d_small.py",
]
