"""CenterNet (key point triplets) with an Hourglass-104, 480,000 iterations of Adam.

Paper: CenterNet: Keypoint Triplets for Object Detection, arXiv 1904.08189.
Train: python tools/train.py configs/centernet_triplet/centernet-triplet_hourglass104_coco.py
Test: python tools/test.py CONFIG CHECKPOINT --tta, which adds the flipped image as the authors do.
Paper's figure: 44.9 AP on test-dev, with the flipped image.
Hardware: written for 8 GPUs with 6 images each; with another batch add --auto-scale-lr.
"""

_base_ = "./centernet-triplet_hourglass52_coco.py"

model = dict(backbone=dict(num_stacks=2), bbox_head=dict(num_stacks=2))
