"""CenterNet++ (arXiv 2204.08394) with its full head on tree crowns, beside the real-time one.

python tools/dataset_converters/trees.py
python tools/train.py configs/centernetpp/centernetpp_efflite0_fpn_trees.py
"""

_base_ = "./centernetpp-fast_efflite0_fpn_trees.py"

model = dict(
    bbox_head=dict(
        type="mmext.CenterNetPlusPlusHead",
        # Published: 3, twelve deformable convolutions in all.
        stacked_convs=1,
        corner_dim=32,
    )
)
