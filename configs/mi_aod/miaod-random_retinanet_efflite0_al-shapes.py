"""MI-AOD's training on shapes, with images chosen at random: what the choice of images adds to it.

python tools/dataset_converters/al_shapes.py
python tools/train.py configs/mi_aod/miaod-random_retinanet_efflite0_al-shapes.py
"""

_base_ = "./miaod_retinanet_efflite0_al-shapes.py"

train_cfg = dict(acquisition=dict(_delete_=True, type="mmext.Random"))
