"""Active learning on tree crowns, by the entropy of detections (arXiv 1809.09875).

python tools/dataset_converters/trees.py
python tools/train.py configs/active_learning/retinanet_efflite0_trees_entropy.py

Model, data, budget and training are those of random selection.
"""

_base_ = "./retinanet_efflite0_trees_random.py"

train_cfg = dict(acquisition=dict(_delete_=True, type="mmext.Entropy", reduce="sum"))
