"""A tiny Uformer (arXiv 2106.03106) on photographs with noise of sigma 50, for two CPU cores.

python tools/dataset_converters/photos.py
python tools/train.py configs/uformer/uformer-tiny_photos-noise50.py
"""

_base_ = "uformer-tiny_photos-noise25.py"

prefix = dict(img="noise50")
train_dataloader = dict(dataset=dict(data_prefix=prefix))
val_dataloader = dict(dataset=dict(data_prefix=prefix))
test_dataloader = dict(dataset=dict(data_prefix=prefix))
