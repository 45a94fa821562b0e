"""Rotated RetinaNet with GWD (arXiv 2101.11952) on rendered vessels, small enough for one CPU core.

Differs from the smooth L1 arm in the box loss alone, which takes decoded boxes.

python tools/dataset_converters/ships.py
python tools/train.py configs/rotated_losses/rotated-retinanet_efflite0_ships_gwd.py
"""

_base_ = "./rotated-retinanet_efflite0_ships_smooth-l1.py"

model = dict(
    bbox_head=dict(
        reg_decoded_bbox=True,
        loss_bbox=dict(
            _delete_=True,
            type="mmext.GWDLoss",
            fun="log1p",
            tau=1.0,
            normalize=True,
            loss_weight=5.0,
        ),
    )
)
