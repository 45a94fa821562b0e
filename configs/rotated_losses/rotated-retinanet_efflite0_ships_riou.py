"""Rotated RetinaNet with the rotated IoU loss on rendered vessels, small enough for one CPU core.

Differs from the smooth L1 arm in the box loss alone, which takes decoded boxes.

python tools/dataset_converters/ships.py
python tools/train.py configs/rotated_losses/rotated-retinanet_efflite0_ships_riou.py
"""

_base_ = "./rotated-retinanet_efflite0_ships_smooth-l1.py"

model = dict(
    bbox_head=dict(
        reg_decoded_bbox=True,
        loss_bbox=dict(_delete_=True, type="mmext.RotatedIoULoss", loss_weight=2.0),
    )
)
