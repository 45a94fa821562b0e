"""The demo's real-time CenterNet++, as it is."""

_base_ = "../../../configs/centernetpp/centernetpp-fast_efflite0_fpn_trees.py"
