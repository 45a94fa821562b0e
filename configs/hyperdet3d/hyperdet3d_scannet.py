"""HyperDet3D (CVPR 2022) on ScanNet V2, a reconstruction: no code was published.

Published: mAP@0.25 / 0.5 70.9 / 57.2. Sources say little of the network (see README.md); depth
and recipe are those of Group-Free-3D here. Nothing says that it reaches the published figure.

python tools/train.py configs/hyperdet3d/hyperdet3d_scannet.py
"""

_base_ = "../group_free3d/group-free3d_l6-o256_scannet.py"

model = dict(type="mmext.HyperDet3D", hyper=dict(fusion="mul", position="post_ffn", num_heads=4))

no_decay = dict(lr_mult=0.1, decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            "decoder_hyper.agnostic_bank": no_decay,
            "decoder_hyper.attention.bank": no_decay,
            "decoder_hyper.place": no_decay,
        }
    )
)
