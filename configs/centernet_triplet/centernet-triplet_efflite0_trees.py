"""CenterNet (key point triplets, arXiv 1904.08189) on tree crowns, for two CPU cores.

python tools/dataset_converters/trees.py
python tools/train.py configs/centernet_triplet/centernet-triplet_efflite0_trees.py

Data, schedule and backbone are those of the demo of CenterNet++. In place of an hourglass, which
ends at stride 4, the maps of EfficientNet-Lite are enlarged to stride 8 and joined: so a minute
holds nearly twice as many steps, and in a few hundred the heat maps learn more.
"""

_base_ = "../centernetpp/centernetpp-fast_efflite0_fpn_trees.py"

norm_cfg = dict(type="GN", num_groups=16, requires_grad=True)
model = dict(
    type="mmext.CenterNetTriplet",
    neck=dict(
        _delete_=True,
        type="HRFPN",
        in_channels=[40, 112, 320],
        out_channels=64,
        num_outs=1,
    ),
    bbox_head=dict(
        _delete_=True,
        type="mmext.CenterNetTripletHead",
        num_classes=1,
        in_channels=64,
        feat_channels=32,
        pool_channels=32,
        num_stacks=1,
        # Batches of four are too small for batch norm.
        norm_cfg=norm_cfg,
    ),
    train_cfg=None,
    test_cfg=dict(
        _delete_=True,
        # Published: 70. A tile holds dozens of crowns, and corners of all classes compete.
        num_peaks=150,
        kernel=3,
        max_tag_distance=0.5,
        num_pairs=1000,
        center_check=dict(small_area=22500, small_parts=3, large_parts=5),
        nms=dict(method="gaussian", sigma=0.5, min_score=1e-3),
        max_per_img=100,
    ),
)

tta_model = dict(type="mmext.CenterNetTripletTTA")
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="TestTimeAug",
        transforms=[
            [dict(type="Resize", scale_factor=1.0)],
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
