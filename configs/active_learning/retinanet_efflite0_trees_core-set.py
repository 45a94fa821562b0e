"""Active learning on tree crowns, by core-set on the detector's features (arXiv 1708.00489).

python tools/dataset_converters/trees.py
python tools/train.py configs/active_learning/retinanet_efflite0_trees_core-set.py

Model, data, budget and training are those of random selection.
"""

_base_ = "./retinanet_efflite0_trees_random.py"

train_cfg = dict(acquisition=dict(_delete_=True, type="mmext.CoreSet"))
