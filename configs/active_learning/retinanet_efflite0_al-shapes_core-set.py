"""Active learning on shapes, by core-set on the detector's features (arXiv 1708.00489).

python tools/dataset_converters/al_shapes.py
python tools/train.py configs/active_learning/retinanet_efflite0_al-shapes_core-set.py

Model, data, budget and training are those of random selection.
"""

_base_ = "./retinanet_efflite0_al-shapes_random.py"

train_cfg = dict(acquisition=dict(_delete_=True, type="mmext.CoreSet"))
