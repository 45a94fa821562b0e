"""A small HyperDet3D (CVPR 2022, reconstructed: no code was published) for the rooms data."""

_base_ = "group_free3d_rooms.py"

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
