"""The file for SIDD's benchmark server, with the weights of uformer-b_sidd.py.

``python tools/test.py configs/uformer/uformer-b_sidd-benchmark.py CHECKPOINT`` denoises
``data/sidd/BenchmarkNoisyBlocksSrgb.mat`` and writes ``SubmitSrgb.mat``. Training is that of
uformer-b_sidd.py:

python tools/train.py configs/uformer/uformer-b_sidd-benchmark.py
"""

_base_ = "uformer-b_sidd.py"

test_dataloader = dict(
    dataset=dict(noisy_file="BenchmarkNoisyBlocksSrgb.mat", gt_file=None),
)
test_evaluator = dict(
    _delete_=True,
    type="mmext.SIDDSubmission",
    out_file="SubmitSrgb.mat",
    description=dict(MethodName="Uformer-B"),
)
