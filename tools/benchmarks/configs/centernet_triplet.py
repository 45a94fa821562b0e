"""CenterNet (triplets) on the trees: one map of stride 4."""

_base_ = "../../../configs/centernet_triplet/centernet-triplet_efflite0_trees.py"
