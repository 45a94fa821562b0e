"""Uformer-B of GoPro on RealBlur-J, each image aligned with its target.

``python tools/test.py configs/uformer/uformer-b_realblur-j.py CHECKPOINT``; the images are
expected in ``data/realblur-j/test/{input,groundtruth}``. RealBlur is not trained on; training is
that of uformer-b_gopro.py:

python tools/train.py configs/uformer/uformer-b_realblur-j.py
"""

_base_ = "uformer-b_gopro.py"

test_dataloader = dict(dataset=dict(data_root="data/realblur-j/test"))
test_evaluator = dict(_delete_=True, type="mmext.RealBlurMetric")
