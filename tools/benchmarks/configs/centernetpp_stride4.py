"""The demo's CenterNet++ with a level more at the fine end.

Quarter boxes are half as large as the objects: for small ones stride 8 is coarse.
"""

_base_ = "centernetpp.py"

model = dict(
    backbone=dict(out_indices=(2, 3, 4, 5)),
    neck=dict(in_channels=[24, 40, 112, 320], num_outs=4),
    bbox_head=dict(strides=[4, 8, 16, 32]),
)
