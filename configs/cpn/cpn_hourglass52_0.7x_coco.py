"""CPN with an Hourglass-52, tested at 0.7 of the original size.

Paper: Corner Proposal Network for Anchor-free, Two-stage Object Detection, arXiv 2007.13816.
Train: python tools/train.py configs/cpn/cpn_hourglass52_0.7x_coco.py
    (as without 0.7x, whose checkpoints fit)
Test: python tools/test.py CONFIG CHECKPOINT, without the flipped image.
Paper's figure: 37.7 AP on val2017 at 24.0 images per second on a V100, without the flipped image.
"""

_base_ = "./cpn_hourglass52_coco.py"

test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=0.7)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1]["transforms"][0][0].update(scale=0.7)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
