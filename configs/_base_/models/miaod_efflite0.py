"""MI-AOD (arXiv 2104.02324) around a RetinaNet small enough for two CPU cores."""

_base_ = ["retinanet_efflite0.py"]

model = dict(bbox_head=dict(type="mmext.MIAODRetinaHead"))
