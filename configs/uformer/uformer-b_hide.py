"""Uformer-B of GoPro on HIDE; published: 30.83 dB, SSIM_uniform_range2 0.952.

``python tools/test.py configs/uformer/uformer-b_hide.py CHECKPOINT``; the frames are expected in
``data/hide/test/{input,groundtruth}``. HIDE is not trained on; training is that of
uformer-b_gopro.py:

python tools/train.py configs/uformer/uformer-b_hide.py
"""

_base_ = "uformer-b_gopro.py"

test_dataloader = dict(dataset=dict(data_root="data/hide/test"))
