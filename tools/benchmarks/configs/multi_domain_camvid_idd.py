"""The day drives of CamVid to its dusk drive and to IDD-Lite, in 7 classes.

For ``multi_domain_peers.py``. The data sets do not come with mmext: they are read from
``$MMEXT_SHARED/data/camvid`` and ``idd_lite`` (default ``../shared``). 305 frames of the drives
0016E5 and 0006R0 have labels; 62 of 0001TP and 1,403 of IDD-Lite are adapted to, 62 and 204 others
tested.
"""

import os

num_classes = 7
shared = os.environ.get("MMEXT_SHARED", "../shared") + "/data/"
resize = [dict(type="Resize", scale=(192, 144), keep_ratio=False)]

camvid = dict(type="mmext.CamVidDataset", class_set="idd_lite_7", data_root=shared + "camvid")
reference = shared + "idd_lite/images/train"
idd = dict(type="mmext.IDDLiteDataset", data_root=shared + "idd_lite")
train = dict(data_prefix=dict(img_path="images/train", seg_map_path="labels/train"))
test = dict(data_prefix=dict(img_path="images/test", seg_map_path="labels/test"))
val = dict(data_prefix=dict(img_path="images/val", seg_map_path="labels/val"))

sources = dict(day=dict(**camvid, **train, drives=("0006R0", "0016E5")))
targets = dict(
    dusk=dict(**camvid, **train, drives=("0001TP",)),
    idd=dict(**idd, **train),
)
tested = dict(
    dusk=dict(**camvid, **test, drives=("0001TP",)),
    idd=dict(**idd, **val),
)
