"""CenterNet (key point triplets) with an Hourglass-52, tested in five sizes.

Paper: CenterNet: Keypoint Triplets for Object Detection, arXiv 1904.08189.
Train: python tools/train.py configs/centernet_triplet/centernet-triplet_hourglass52_ms_coco.py
    (as without ms, whose checkpoints fit)
Test: python tools/test.py CONFIG CHECKPOINT --tta, for 5 sizes, each as it is and flipped.
Paper's figure: 43.5 AP on test-dev.
"""

_base_ = "./centernet-triplet_hourglass52_coco.py"

tta_model = dict(
    tta_cfg=dict(nms=dict(method="gaussian", sigma=0.5, min_score=1e-3, merge_exponent=10.0))
)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1]["transforms"][0] = [
    dict(type="mmext.ScaledCenterPad", scale=scale) for scale in (0.6, 1.0, 1.2, 1.5, 1.8)
]
