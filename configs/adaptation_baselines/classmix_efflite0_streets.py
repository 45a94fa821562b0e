"""Class mixing (DACS, arXiv 2007.08702) on rendered streets, ``game`` to ``day``.

python tools/dataset_converters/streets.py
python tools/train.py configs/adaptation_baselines/classmix_efflite0_streets.py
"""

_base_ = [
    "../_base_/datasets/streets_segmentation.py",
    "../_base_/models/bdl_efflite0.py",
]

model = dict(type="mmext.ClassMixAdaptation")
