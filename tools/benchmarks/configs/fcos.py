"""mmdet's FCOS in place of CenterNet++; data, backbone, neck and schedule stay."""

_base_ = "../../../configs/centernetpp/centernetpp-fast_efflite0_fpn_trees.py"

model = dict(
    type="FCOS",
    bbox_head=dict(
        _delete_=True,
        type="FCOSHead",
        num_classes=1,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        strides=[8, 16, 32],
        # mmdet's ranges are made for COCO's sizes.
        regress_ranges=((-1, 48), (48, 96), (96, 1e8)),
    ),
    train_cfg=None,
    test_cfg=dict(
        _delete_=True,
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.02,
        nms=dict(type="soft_nms", iou_threshold=0.6, min_score=1e-3, method="gaussian"),
        max_per_img=100,
    ),
)
