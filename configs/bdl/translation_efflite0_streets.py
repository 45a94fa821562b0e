"""The translation of BDL (arXiv 1904.10620) alone, on rendered streets.

python tools/dataset_converters/streets.py
python tools/train.py configs/bdl/translation_efflite0_streets.py
"""

_base_ = [
    "../_base_/datasets/streets_segmentation.py",
    "../_base_/models/bdl_efflite0.py",
    "../_base_/schedules/bdl_small.py",
]

# One translator, without the semantic term; the segmentor learns from translated images only.
schedule = dict(outer=1, inner=0)
