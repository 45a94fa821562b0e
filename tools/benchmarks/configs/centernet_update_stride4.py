"""CenterNetUpdate with a level more at the fine end, as in ``centernetpp_stride4.py``."""

_base_ = "centernet_update.py"

model = dict(
    backbone=dict(out_indices=(2, 3, 4, 5)),
    neck=dict(in_channels=[24, 40, 112, 320], num_outs=4),
    bbox_head=dict(
        strides=[4, 8, 16, 32],
        regress_ranges=((0, 32), (24, 64), (48, 128), (96, 1e8)),
    ),
)
