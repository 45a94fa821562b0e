"""The files for DND's server, with the weights of uformer-b_sidd.py; published: 39.98 dB, 0.955.

``python tools/test.py configs/uformer/uformer-b_dnd.py CHECKPOINT`` denoises ``data/dnd`` (info.mat
and images_srgb) and writes the folder ``dnd_submission``. DND has no training data; training is
that of uformer-b_sidd.py:

python tools/train.py configs/uformer/uformer-b_dnd.py
"""

_base_ = "uformer-b_sidd.py"

test_dataloader = dict(
    batch_size=4,
    dataset=dict(
        _delete_=True,
        type="mmext.DNDCrops",
        data_root="data/dnd/",
        pipeline=[dict(type="mmext.PackRestorationInputs")],
    ),
)
test_evaluator = dict(_delete_=True, type="mmext.DNDSubmission", out_dir="dnd_submission")
