"""Uformer-B (arXiv 2106.03106) on DPDD (defocus, dual pixel); published: 26.28 dB, SSIM 0.891.

The sources give the network and the data set, not the training: crop, batch, epochs and mix-up
below are those of denoising, and open. 16-bit pairs are
expected in ``data/dpdd/{train,test}/{input,input_right,groundtruth}``: left view, right view,
target. Six channels go in, so nothing is added to the input at the end.

python tools/train.py configs/uformer/uformer-b_dpdd.py
"""

_base_ = "./uformer-b_tip18.py"

model = dict(generator=dict(dd_in=6))

prefix = dict(img="input", gt="groundtruth", view="input_right")
data_root = "data/dpdd/"
train_dataloader = dict(dataset=dict(data_root=data_root + "train", data_prefix=prefix))
test_dataloader = dict(dataset=dict(data_root=data_root + "test", data_prefix=prefix))
val_dataloader = test_dataloader
