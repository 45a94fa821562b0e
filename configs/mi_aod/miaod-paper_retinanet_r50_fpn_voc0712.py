"""MI-AOD with RetinaNet as its paper describes it, where the official code does something else.

Train: python tools/train.py configs/mi_aod/miaod-paper_retinanet_r50_fpn_voc0712.py
Its figures are not known: those of the paper come from the official code.
"""

_base_ = [
    "../_base_/models/miaod_retinanet_r50_fpn.py",
    "../_base_/datasets/voc0712_detection.py",
    "../_base_/schedules/miaod_retinanet_paper.py",
    "../_base_/default_runtime.py",
]

model = dict(
    bbox_head=dict(
        faithful="paper",
        loss_bbox=dict(_delete_=True, type="SmoothL1Loss", beta=1.0, loss_weight=1.0),
    )
)
train_cfg = dict(cycles=7, budget=dict(initial=827, step=413))
# The end of each cycle is kept as well; these are to go on from.
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2))
