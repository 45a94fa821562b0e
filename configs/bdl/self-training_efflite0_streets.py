"""The self-training of BDL (arXiv 1904.10620) alone, on rendered streets.

python tools/dataset_converters/streets.py
python tools/train.py configs/bdl/self-training_efflite0_streets.py
"""

_base_ = [
    "../_base_/datasets/streets_segmentation.py",
    "../_base_/models/bdl_efflite0.py",
]

# Source alone, pseudo labels, source and pseudo labels, and that once more.
schedule = dict(type="mmext.BDLSchedule", outer=1, inner=2)
