"""Group-Free-3D for SUN RGB-D: 6 layers, 256 candidates, turned boxes."""

model = dict(
    type="mmext.GroupFree3D",
    data_preprocessor=dict(type="mmext.PointsPreprocessor"),
    backbone=dict(type="mmext.PointNet2"),
    num_classes=10,
    num_candidates=256,
    num_heading_bins=12,
    mean_sizes=None,
    decoder=dict(num_layers=6),
    loss=dict(
        type="mmext.GroupFree3DLoss",
        seed_weight=0.2,
        objectness_weight=0.4,
        center_delta=1 / 9,
        size_delta=0.0625,
        heading_delta=0.04,
    ),
    test_cfg=dict(ensemble="all", also=("last", "last_three")),
)
