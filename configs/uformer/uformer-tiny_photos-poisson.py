"""A tiny Uformer (arXiv 2106.03106) on photographs with the noise of a camera, for two CPU cores.

python tools/dataset_converters/photos.py
python tools/train.py configs/uformer/uformer-tiny_photos-poisson.py
"""

_base_ = "uformer-tiny_photos-noise25.py"

prefix = dict(img="poisson")
train_dataloader = dict(dataset=dict(data_prefix=prefix))
val_dataloader = dict(dataset=dict(data_prefix=prefix))
test_dataloader = dict(dataset=dict(data_prefix=prefix))
