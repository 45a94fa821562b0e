"""MI-AOD on shapes, for a CPU: four cycles, from 5 to 20 % of 600 images.

python tools/dataset_converters/al_shapes.py
python tools/train.py configs/mi_aod/miaod_retinanet_efflite0_al-shapes.py

Data and budget are those of configs/active_learning/retinanet_efflite0_al-shapes_random.py, phases
those of the published campaigns: 26 passes over the labelled images, 8 of them with as many
unlabelled images beside. Only the last phase lowers the learning rate.
"""

_base_ = "../active_learning/retinanet_efflite0_al-shapes_random.py"

model = dict(bbox_head=dict(type="mmext.MIAODRetinaHead"))

classifiers = ["bbox_head.cls_convs.*", "bbox_head.retina_cls.*", "bbox_head.f_2_*"]
warm_up = dict(type="LinearLR", start_factor=0.05, by_epoch=False, begin=0, end=20)
constant = dict(param_scheduler=[warm_up])
label = dict(name="label", stage="label", epochs=3, repeat=2)
unlabeled = dict(**constant, epochs=1, repeat=2, data="labeled+unlabeled")
minimise = dict(
    **unlabeled, name="min", stage="min", train=["*", *(f"!{name}" for name in classifiers)]
)
maximise = dict(**unlabeled, name="max", stage="max", train=classifiers)
falling = dict(
    type="CosineAnnealingLR", by_epoch=True, T_max=3, eta_min_ratio=0.01, convert_to_iter_based=True
)

train_cfg = dict(
    phases=[
        dict(**label, **constant),
        minimise,
        maximise,
        dict(**label, **constant),
        minimise,
        maximise,
        dict(**label, param_scheduler=[warm_up, falling]),
    ],
    acquisition=dict(_delete_=True, type="mmext.MIAODDiscrepancy", topk=10000),
)
