"""CPN with a DLA-34, tested in five sizes.

Paper: Corner Proposal Network for Anchor-free, Two-stage Object Detection, arXiv 2007.13816.
Train: python tools/train.py configs/cpn/cpn_dla34_ms_coco.py
    (as without ms, whose checkpoints fit)
Test: python tools/test.py CONFIG CHECKPOINT --tta, for 5 sizes, each as it is and flipped.
Paper's figure: 44.5 AP on test-dev.
"""

_base_ = "./cpn_dla34_coco.py"

tta_pipeline = _base_.tta_pipeline
tta_pipeline[1]["transforms"][0] = [
    dict(type="mmext.ScaledCenterPad", scale=scale, pad_bits=31, pad_extra=1)
    for scale in (0.6, 1.0, 1.2, 1.5, 1.8)
]
