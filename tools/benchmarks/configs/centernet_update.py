"""mmdet's CenterNetUpdateHead in place of CenterNet++; data, backbone, neck and schedule stay."""

_base_ = "../../../configs/centernetpp/centernetpp-fast_efflite0_fpn_trees.py"

model = dict(
    type="CenterNet",
    bbox_head=dict(
        _delete_=True,
        type="CenterNetUpdateHead",
        num_classes=1,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        strides=[8, 16, 32],
        # mmdet's ranges are made for COCO's sizes.
        regress_ranges=((0, 64), (48, 128), (96, 1e8)),
        hm_min_radius=4,
        hm_min_overlap=0.8,
        more_pos_thresh=0.2,
        more_pos_topk=9,
        soft_weight_on_reg=False,
        loss_cls=dict(type="GaussianFocalLoss", pos_weight=0.25, neg_weight=0.75, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
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
