"""CenterNet++ with its full head on the trees."""

_base_ = "../../../configs/centernetpp/centernetpp_efflite0_fpn_trees.py"
