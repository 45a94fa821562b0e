"""Test-time augmentation of CenterNet++: twelve scales, each as it is and mirrored, then a vote.

Each scale keeps the sizes of objects (square root of the area in the original image, in pixels)
that it is good at. The last numbers are the official code's.
"""

tta_model = dict(
    type="mmext.CenterNetPlusPlusTTA",
    tta_cfg=dict(
        scale_ranges=[
            (96, None),
            (96, None),
            (64, None),
            (64, None),
            (64, None),
            (0, None),
            (0, None),
            (0, 256),
            (0, 256),
            (0, 192),
            (0, 192),
            (0, 96),
        ],
        iou_threshold=0.66,
        score_thr=0.05,
        max_per_img=1000,
    ),
)
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [
                dict(type="Resize", scale=(3000, short), keep_ratio=True)
                for short in (400, 500, 600, 640, 700, 900, 1000, 1100, 1200, 1300, 1400, 1800)
            ],
            [dict(type="RandomFlip", prob=0.0), dict(type="RandomFlip", prob=1.0)],
            [dict(type="LoadAnnotations", with_bbox=True)],
            [
                dict(
                    type="PackDetInputs",
                    meta_keys=(
                        "img_id",
                        "img_path",
                        "ori_shape",
                        "img_shape",
                        "scale_factor",
                        "flip",
                        "flip_direction",
                    ),
                )
            ],
        ],
    ),
]
