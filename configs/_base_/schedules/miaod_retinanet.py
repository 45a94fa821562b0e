"""A cycle of MI-AOD with RetinaNet as in the official code: 26 passes over the labelled images.

Weight decay is 5e-4: the official code has that written in, and ignores its config's 1e-4.
"""

classifiers = ["bbox_head.cls_convs.*", "bbox_head.retina_cls.*", "bbox_head.f_2_*"]
label = dict(name="label", stage="label", epochs=3, repeat=2)
unlabeled = dict(epochs=1, repeat=2, data="labeled+unlabeled")
minimise = dict(
    **unlabeled, name="min", stage="min", train=["*", *(f"!{name}" for name in classifiers)]
)
maximise = dict(**unlabeled, name="max", stage="max", train=classifiers)
slow_end = [dict(type="MultiStepLR", by_epoch=True, milestones=[2], gamma=0.1)]

train_cfg = dict(
    type="mmext.ActiveLearningLoop",
    phases=[
        label,
        minimise,
        maximise,
        label,
        minimise,
        maximise,
        dict(**label, param_scheduler=slow_end),
    ],
    acquisition=dict(type="mmext.MIAODDiscrepancy", topk=10000),
)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=1e-3, momentum=0.9, weight_decay=5e-4),
)
randomness = dict(seed=666)
