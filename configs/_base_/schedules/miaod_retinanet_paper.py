"""A cycle of MI-AOD with RetinaNet as in the paper, where it differs from the official code.

The classifiers disagree first and the features follow; the whole head learns in the one, backbone,
neck and f_mil in the other. The last 6 of 26 passes have a tenth of the learning rate. Images are
chosen by weighted absolute differences.
"""

_base_ = "miaod_retinanet.py"

label = dict(name="label", stage="label", epochs=3, repeat=2)
unlabeled = dict(epochs=1, repeat=2, data="labeled+unlabeled")
maximise = dict(**unlabeled, name="max", stage="max", train=["bbox_head.*"])
minimise = dict(
    **unlabeled, name="min", stage="min", train=["*", "!bbox_head.*", "bbox_head.f_mil_*"]
)

train_cfg = dict(
    phases=[
        label,
        maximise,
        minimise,
        label,
        maximise,
        minimise,
        dict(**label, optim_wrapper=dict(optimizer=dict(lr=1e-4))),
    ],
    acquisition=dict(power=1, use_mil_weight=True),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
