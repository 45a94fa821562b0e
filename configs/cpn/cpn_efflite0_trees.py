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
        roi_form="hourglass",
        # Published: ``aligned=False``, which is half a cell off where a crown has four.
        roi_layer=dict(output_size=7, sampling_ratio=2, aligned=True),
        # Published radii come to one cell or none here, and labels are looser than that.
        min_radius=2,
    ),
    train_cfg=dict(
        _delete_=True,
        # Published: 70, on maps of sixteen times as many cells.
        num_peaks=50,
        kernel=3,
        grouping_thr=0.2,
        # Published: 0.7. Corners of a crown that are one cell off leave less.
        assigner=dict(
            type="MaxIoUAssigner",
            pos_iou_thr=0.5,
            neg_iou_thr=0.5,
            min_pos_iou=0.5,
            match_low_quality=True,
            gt_max_assign_all=True,
        ),
        # Published: all proposals. Hardly any is an object, and RoIAlign would take most of a step.
        sampler=dict(
            type="RandomSampler",
            num=128,
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
