"""Campaigns on blood cells: 10 of 205 training images at first, 10 more in each of four cycles."""

_base_ = "bccd.py"

model = dict(bbox_head=dict(num_classes=3, anchor_generator=dict(ratios=[0.5, 1.0, 2.0])))
train_cfg = dict(budget=dict(initial=10, step=10))
val_evaluator = dict(prefix="coco")
