"""Two day drives of CamVid to IDD-Lite, in 7 classes.

For ``multi_domain_peers.py``; the data sets as in ``multi_domain_camvid_idd.py``. 204 frames of the
drive 0016E5 and 101 of 0006R0 have labels.
"""

_base_ = ["multi_domain_camvid_idd.py"]

camvid = dict(
    type="mmext.CamVidDataset",
    class_set="idd_lite_7",
    data_root={{_base_.camvid.data_root}},
    data_prefix=dict(img_path="images/train", seg_map_path="labels/train"),
)

sources = dict(
    _delete_=True,
    first=dict(**camvid, drives=("0016E5",)),
    second=dict(**camvid, drives=("0006R0",)),
)
targets = dict(_delete_=True, idd={{_base_.targets.idd}})
tested = dict(_delete_=True, idd={{_base_.tested.idd}})
