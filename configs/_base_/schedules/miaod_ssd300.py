"""A cycle of MI-AOD with SSD300 as in the official code: 304 passes over the labelled images.

Each phase warms up; the last 64 passes have a tenth of the learning rate.
"""

classifiers = ["bbox_head.cls_convs.*", "bbox_head.f_2_*"]
label = dict(name="label", stage="label", epochs=5, repeat=16)
unlabeled = dict(epochs=1, repeat=16, data="labeled+unlabeled")
minimise = dict(
    **unlabeled, name="min", stage="min", train=["*", *(f"!{name}" for name in classifiers)]
)
maximise = dict(**unlabeled, name="max", stage="max", train=classifiers)
warm_up = dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500)
slow_end = dict(type="MultiStepLR", by_epoch=True, milestones=[1], gamma=0.1)

train_cfg = dict(
    type="mmext.ActiveLearningLoop",
    phases=[
        label,
        minimise,
        maximise,
        label,
        minimise,
        maximise,
        dict(**label, param_scheduler=[warm_up, slow_end]),
    ],
    acquisition=dict(type="mmext.MIAODDiscrepancy", topk=10000),
)
param_scheduler = [warm_up]
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=1e-3, momentum=0.9, weight_decay=5e-4),
)
randomness = dict(seed=666)
