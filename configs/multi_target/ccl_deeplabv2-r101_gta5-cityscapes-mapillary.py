"""Collaborative consistency learning (arXiv 2106.03418), GTA5 to Cityscapes and Mapillary.

python tools/convert_checkpoint.py deeplabv2 OFFICIAL_INIT.pth checkpoints/deeplabv2_r101_init.pth
python tools/train.py configs/multi_target/ccl_deeplabv2-r101_gta5-cityscapes-mapillary.py

A reconstruction, not trained here. The paper's figure is 46.8 mIoU on average;
later ones quote 45.1 and 48.8.
"""

_base_ = ["ccl_deeplabv2-r101_gta5-cityscapes-idd-mapillary.py"]

model = dict(targets=["cityscapes", "mapillary"])
train_dataloader = dict(
    dataset=dict(
        targets=dict(
            _delete_=True, cityscapes={{_base_.cityscapes}}, mapillary={{_base_.mapillary}}
        )
    )
)
val_dataloader = dict(
    dataset=dict(
        datasets=dict(
            _delete_=True,
            cityscapes={{_base_.tested.cityscapes}},
            mapillary={{_base_.tested.mapillary}},
        )
    )
)
test_dataloader = val_dataloader
