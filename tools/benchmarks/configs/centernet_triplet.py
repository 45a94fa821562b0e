"""CenterNet (triplets) on the trees: one map of stride 8."""

_base_ = "../../../configs/centernet_triplet/centernet-triplet_efflite0_trees.py"
