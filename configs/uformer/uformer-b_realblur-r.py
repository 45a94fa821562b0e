"""Uformer-B of GoPro on RealBlur-R, each image aligned with its target.

``python tools/test.py configs/uformer/uformer-b_realblur-r.py CHECKPOINT``; the images are
expected in ``data/realblur-r/test/{input,groundtruth}``. RealBlur is not trained on; training is
that of uformer-b_gopro.py:

python tools/train.py configs/uformer/uformer-b_realblur-r.py
"""

_base_ = "uformer-b_gopro.py"

test_dataloader = dict(dataset=dict(data_root="data/realblur-r/test"))
test_evaluator = dict(_delete_=True, type="mmext.RealBlurMetric")
