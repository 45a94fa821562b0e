"""A day drive of CamVid to its dusk drive, merged over a small config of ``configs/bdl``.

The data set does not come with mmext: it is read from ``$MMEXT_SHARED/data/camvid`` (``images``,
``labels``, lists of the drives in ``splits/domains``; default ``../shared``). 204 frames of the
drive 0016E5 have labels; 62 frames of 0001TP are adapted to, and the 62 of its second half tested.
"""

import os

num_classes = 11
size = (192, 144)
data_root = os.environ.get("MMEXT_SHARED", "../shared") + "/data/camvid"
camvid = dict(type="mmext.CamVidDataset", data_root=data_root)
resize = dict(type="Resize", scale=size, keep_ratio=False)

source = dict(
    **camvid,
    data_prefix=dict(img_path="images/train", seg_map_path="labels/train"),
    ann_file="splits/domains/0016E5_train.txt",
)
target = dict(
    **camvid,
    data_prefix=dict(img_path="images/train", seg_map_path="labels/train"),
    ann_file="splits/domains/0001TP_train.txt",
)
tested = dict(
    **camvid,
    data_prefix=dict(img_path="images/test", seg_map_path="labels/test"),
    ann_file="splits/domains/0001TP_test.txt",
)
