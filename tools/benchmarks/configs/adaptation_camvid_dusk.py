"""The day drives of CamVid to its dusk drive in IDD-Lite's 7 classes, merged over a small config.

The data set does not come with mmext: it is read from ``$MMEXT_SHARED/data/camvid`` (``images``,
``labels``; default ``../shared``). 305 frames of the drives 0016E5 and 0006R0 have labels; 62 of
0001TP are adapted to, and the 62 of its other half tested. Of CamVid's own 11 classes, trainings of
this length never predict five, not even with the target's labels.
"""

import os

_base_ = ["../../../configs/_base_/schedules/bdl_small_residual.py"]

num_classes = 7
size = (192, 144)
data_root = os.environ.get("MMEXT_SHARED", "../shared") + "/data/camvid"
camvid = dict(type="mmext.CamVidDataset", class_set="idd_lite_7", data_root=data_root)
resize = dict(type="Resize", scale=size, keep_ratio=False)

source = dict(
    **camvid,
    data_prefix=dict(img_path="images/train", seg_map_path="labels/train"),
    drives=("0006R0", "0016E5"),
)
target = dict(
    **camvid,
    data_prefix=dict(img_path="images/train", seg_map_path="labels/train"),
    drives=("0001TP",),
)
tested = dict(
    **camvid,
    data_prefix=dict(img_path="images/test", seg_map_path="labels/test"),
    drives=("0001TP",),
)
