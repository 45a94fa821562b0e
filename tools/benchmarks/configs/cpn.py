"""CPN on the trees: one map of stride 8."""

_base_ = "../../../configs/cpn/cpn_efflite0_trees.py"
