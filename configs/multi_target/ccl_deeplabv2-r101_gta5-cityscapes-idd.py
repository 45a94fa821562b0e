"""Collaborative consistency learning (arXiv 2106.03418), GTA5 to Cityscapes and IDD.

python tools/convert_checkpoint.py deeplabv2 OFFICIAL_INIT.pth checkpoints/deeplabv2_r101_init.pth
python tools/train.py configs/multi_target/ccl_deeplabv2-r101_gta5-cityscapes-idd.py

A reconstruction, not trained here. Later papers quote 45.0 and 46.0 mIoU for the method.
"""

_base_ = ["ccl_deeplabv2-r101_gta5-cityscapes-idd-mapillary.py"]

model = dict(targets=["cityscapes", "idd"])
train_dataloader = dict(
    dataset=dict(targets=dict(_delete_=True, cityscapes={{_base_.cityscapes}}, idd={{_base_.idd}}))
)
val_dataloader = dict(
    dataset=dict(
        datasets=dict(
            _delete_=True,
            cityscapes={{_base_.tested.cityscapes}},
            idd={{_base_.tested.idd}},
        )
    )
)
test_dataloader = val_dataloader
