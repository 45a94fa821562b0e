"""Collaborative consistency learning (arXiv 2106.03418), GTA5 to IDD and Mapillary.

python tools/convert_checkpoint.py deeplabv2 OFFICIAL_INIT.pth checkpoints/deeplabv2_r101_init.pth
python tools/train.py configs/multi_target/ccl_deeplabv2-r101_gta5-idd-mapillary.py

A reconstruction, not trained here. Later papers quote 44.5 and 46.4 mIoU for the method.
"""

_base_ = ["ccl_deeplabv2-r101_gta5-cityscapes-idd-mapillary.py"]

model = dict(targets=["idd", "mapillary"])
train_dataloader = dict(
    dataset=dict(targets=dict(_delete_=True, idd={{_base_.idd}}, mapillary={{_base_.mapillary}}))
)
val_dataloader = dict(
    dataset=dict(
        datasets=dict(
            _delete_=True,
            idd={{_base_.tested.idd}},
            mapillary={{_base_.tested.mapillary}},
        )
    )
)
test_dataloader = val_dataloader
