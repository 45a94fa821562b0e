"""The short schedule of indoor detection, without weight decay on what a bank of scenes holds."""

_base_ = "indoor3d_small.py"

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
