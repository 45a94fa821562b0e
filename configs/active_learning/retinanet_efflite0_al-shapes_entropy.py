"""Active learning on shapes, by the entropy of detections (arXiv 1809.09875).

python tools/dataset_converters/al_shapes.py
python tools/train.py configs/active_learning/retinanet_efflite0_al-shapes_entropy.py

Model, data, budget and training are those of random selection.
"""

_base_ = "./retinanet_efflite0_al-shapes_random.py"

train_cfg = dict(acquisition=dict(_delete_=True, type="mmext.Entropy", reduce="sum"))
