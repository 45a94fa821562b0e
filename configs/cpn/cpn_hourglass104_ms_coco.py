"""CPN with an Hourglass-104, tested in five sizes.

Paper: Corner Proposal Network for Anchor-free, Two-stage Object Detection, arXiv 2007.13816.
Train: python tools/train.py configs/cpn/cpn_hourglass104_ms_coco.py
    (as without ms, whose checkpoints fit)
Test: python tools/test.py CONFIG CHECKPOINT --tta, for 5 sizes, each as it is and flipped.
Paper's figure: 49.2 AP on test-dev.
"""

_base_ = "./cpn_hourglass104_coco.py"

tta_pipeline = _base_.tta_pipeline
tta_pipeline[1]["transforms"][0] = [
    dict(type="mmext.ScaledCenterPad", scale=scale) for scale in (0.6, 1.0, 1.2, 1.5, 1.8)
]
