"""The tiny Uformer, as its config has it."""

_base_ = "../../../configs/uformer/uformer-tiny_photos-noise25.py"
