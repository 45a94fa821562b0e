"""Uformer-B (arXiv 2106.03106) on SPAD (real rain).

The sources give the network and the data set, not the training: crop, batch, epochs and mix-up
below are those of denoising, and open. Pairs are
expected in ``data/spad/{train,test}/{input,groundtruth}``. The protocol is that of other papers on
deraining: luma, MATLAB's SSIM.

python tools/train.py configs/uformer/uformer-b_spad.py
"""

_base_ = "./uformer-b_tip18.py"

data_root = "data/spad/"
train_dataloader = dict(dataset=dict(data_root=data_root + "train"))
test_dataloader = dict(dataset=dict(data_root=data_root + "test"))
val_dataloader = test_dataloader
test_evaluator = [
    dict(type="mmext.PSNR", channel="y", rounding="uint8"),
    dict(type="mmext.SSIM", protocol="matlab2d", channel="y", rounding="uint8"),
]
val_evaluator = test_evaluator
