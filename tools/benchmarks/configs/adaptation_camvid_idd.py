"""CamVid (England) to IDD-Lite (India) in IDD-Lite's 7 classes, merged over a small config.

The data sets do not come with mmext: they are read from ``$MMEXT_SHARED/data/camvid`` and
``idd_lite`` (default ``../shared``). 367 frames have labels, 1,403 are adapted to, 204 tested.
"""

import os

_base_ = ["../../../configs/_base_/schedules/bdl_small_residual.py"]

num_classes = 7
size = (192, 136)
shared = os.environ.get("MMEXT_SHARED", "../shared") + "/data/"
resize = dict(type="Resize", scale=size, keep_ratio=False)

source = dict(
    type="mmext.CamVidDataset",
    class_set="idd_lite_7",
    data_root=shared + "camvid",
    data_prefix=dict(img_path="images/train", seg_map_path="labels/train"),
)
target = dict(
    type="mmext.IDDLiteDataset",
    data_root=shared + "idd_lite",
    data_prefix=dict(img_path="images/train", seg_map_path="labels/train"),
)
tested = dict(
    type="mmext.IDDLiteDataset",
    data_root=shared + "idd_lite",
    data_prefix=dict(img_path="images/val", seg_map_path="labels/val"),
)
