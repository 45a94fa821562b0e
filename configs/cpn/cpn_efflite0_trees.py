"""CPN (arXiv 2007.13816) on tree crowns, for two CPU cores.

python tools/dataset_converters/trees.py
python tools/train.py configs/cpn/cpn_efflite0_trees.py

Data, schedule, backbone and neck are those of CenterNet's small configuration: one map of stride 8
in place of an hourglass's of stride 4, so that a minute holds more steps.
"""

_base_ = "../centernet_triplet/centernet-triplet_efflite0_trees.py"

model = dict(
    type="mmext.CPN",
    bbox_head=dict(
        _delete_=True,
        type="mmext.CPNHead",
        num_classes=1,
        in_channels=64,
        feat_channels=32,
        pool_channels=32,
        grouping_channels=32,
        num_stacks=1,
        roi_form="dla",
        roi_layer=dict(output_size=7, sampling_ratio=1, aligned=False),
        # Batches of four are too small for batch norm.
        norm_cfg=dict(type="GN", num_groups=16, requires_grad=True),
    ),
    train_cfg=dict(
        _delete_=True,
        num_peaks=50,
        kernel=3,
        grouping_thr=0.2,
        assigner=dict(
            type="MaxIoUAssigner",
            pos_iou_thr=0.7,
            neg_iou_thr=0.7,
            min_pos_iou=0.5,
            match_low_quality=True,
            gt_max_assign_all=True,
        ),
        # Published: all proposals. Most of them are none, and RoIAlign would take most of a step.
        sampler=dict(
            type="RandomSampler",
            num=256,
            pos_fraction=0.5,
            neg_pos_ub=-1,
            add_gt_as_proposals=True,
        ),
    ),
    test_cfg=dict(
        _delete_=True,
        num_peaks=70,
        kernel=3,
        grouping_thr=0.2,
        num_pairs=1000,
        flip_consistency=dict(min_iou=0.3),
        nms=dict(method="gaussian", sigma=0.5, min_score=1e-3, merge_exponent=10.0),
        max_per_img=100,
    ),
)

tta_model = dict(type="mmext.CPNTTA")
