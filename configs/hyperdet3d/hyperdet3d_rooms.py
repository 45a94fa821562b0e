"""A small HyperDet3D (CVPR 2022, reconstructed: no code was published) on rendered rooms.

python tools/dataset_converters/rooms.py
python tools/train.py configs/hyperdet3d/hyperdet3d_rooms.py
"""

_base_ = "../group_free3d/group-free3d_rooms.py"

model = dict(
    type="mmext.HyperDet3D",
    hyper=dict(
        fusion="mul",
        position="post_ffn",
        num_heads=4,
        scene_channels=64,
        embed_channels=32,
        hidden_channels=32,
        num_specific=16,
    ),
)

no_decay = dict(decay_mult=0.0)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            "decoder_hyper.agnostic_bank": no_decay,
            "decoder_hyper.attention.bank": no_decay,
            "decoder_hyper.place": no_decay,
        }
    )
)
