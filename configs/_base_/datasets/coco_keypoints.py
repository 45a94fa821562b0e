"""COCO for detectors of CornerNet's kind.

Training: a crop of a random scale around a random place, 511 x 511, as in the authors' code.
Testing: whole images, padded to what an hourglass can halve; ``tta_pipeline`` adds the flipped one.
"""

_base_ = "./coco_detection.py"

train_pipeline = [
    dict(type="LoadImageFromFile", to_float32=True, backend_args=_base_.backend_args),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="mmext.KeypointCropPad",
        crop_size=(511, 511),
        ratios=(0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3),
        border=128,
    ),
    dict(type="Resize", scale=(511, 511), keep_ratio=False),
    dict(type="RandomFlip", prob=0.5),
    dict(type="mmext.ColorJitterLighting", jitter=0.4, lighting=0.1),
    dict(type="PackDetInputs"),
]
meta_keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor", "border")
test_pipeline = [
    dict(type="LoadImageFromFile", backend_args=_base_.backend_args),
    dict(type="mmext.ScaledCenterPad", scale=1.0),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=meta_keys),
]
train_dataloader = dict(
    batch_size=6,
    num_workers=3,
    sampler=dict(_delete_=True, type="InfiniteSampler", shuffle=True),
    batch_sampler=None,
    dataset=dict(
        # The authors leave no image out for its size.
        filter_cfg=dict(filter_empty_gt=True, min_size=0),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
tta_pipeline = [
    dict(type="LoadImageFromFile", backend_args=_base_.backend_args),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="mmext.ScaledCenterPad", scale=1.0)],
            # Behind the padding, as the border is taken off after the flip is undone.
            [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
            [dict(type="LoadAnnotations", with_bbox=True)],
            [dict(type="PackDetInputs", meta_keys=(*meta_keys, "flip", "flip_direction"))],
        ],
    ),
]
