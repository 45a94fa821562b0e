"""rotated_iou as an op: torch's own checks, layouts, precision, threads, refusals, CUDA."""

import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest
import torch
from rotated_iou_samples import (
    _chosen_way,  # noqa: F401 (a fixture of every test)
    both_ways,
    needs_extension,
    pairs,
    weighted_gradients,
)

from mmext.ops import rotated_iou

CSRC = Path(__file__).parents[2] / "mmext" / "csrc"


@both_ways
def test_gradcheck(use_kernel):
    pred, target = (boxes.requires_grad_() for boxes in pairs(20))
    assert torch.autograd.gradcheck(rotated_iou, (pred, target))
    mask = torch.arange(20) % 3 > 0
    assert torch.autograd.gradcheck(lambda p, t: rotated_iou(p, t, mask=mask), (pred, target))


@needs_extension
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("count", [0, 1, 100])
def test_opcheck(count, masked):
    pred, target = pairs(count, torch.float32)
    mask = torch.arange(count) % 2 == 0 if masked else None
    torch.library.opcheck(
        torch.ops.mmext.rotated_iou.default, (pred.requires_grad_(), target.requires_grad_(), mask)
    )
    arguments = (torch.randn(count), pred.detach(), target.detach(), mask)
    for wanted in ([True, True], [True, False], [False, True]):
        torch.library.opcheck(torch.ops.mmext._rotated_iou_backward.default, (*arguments, wanted))


@pytest.mark.parametrize("masked", [False, True])
def test_compiles_without_graph_breaks(masked):
    compiled = torch.compile(rotated_iou, fullgraph=True, backend="aot_eager", dynamic=True)
    for count in (7, 20):
        pred, target = pairs(count)
        mask = torch.arange(count) % 2 == 0 if masked else None
        result, expected = (
            weighted_gradients(partial(function, mask=mask), pred, target)[0]
            for function in (compiled, rotated_iou)
        )
        torch.testing.assert_close(result, expected)


class _Mean(torch.nn.Module):
    def forward(self, pred, target):
        return rotated_iou(pred, target).mean()


@needs_extension
def test_exports():
    rows = torch.export.Dim("rows", min=2)
    program = torch.export.export(_Mean(), pairs(6), dynamic_shapes=({0: rows}, {0: rows}))
    assert "mmext.rotated_iou" in program.graph_module.code
    other = pairs(9)
    assert program.module()(*other).equal(_Mean()(*other))


@both_ways
def test_no_boxes(use_kernel):
    empty = torch.zeros(0, 5, requires_grad=True)
    for mask in (None, torch.zeros(0, dtype=torch.bool)):
        iou = rotated_iou(empty, empty.detach(), mask=mask)
        assert iou.shape == (0,)
        assert torch.autograd.grad(iou.sum(), empty)[0].shape == (0, 5)


@both_ways
def test_non_contiguous_boxes(use_kernel):
    pred, target = pairs(50)
    expected, _ = weighted_gradients(rotated_iou, pred, target)
    wide = torch.stack([pred, pred + 1], -1)
    transposed = target.T.contiguous()
    result, _ = weighted_gradients(
        lambda p, t: rotated_iou(torch.stack([p, wide[..., 1]], -1)[..., 0], t.T.contiguous().T),
        pred,
        target,
    )
    torch.testing.assert_close(result, expected)
    assert rotated_iou(wide[..., 0], transposed.T).equal(rotated_iou(pred, target))
    (spread,) = torch.autograd.grad(
        rotated_iou(leaf := pred.clone().requires_grad_(), target),
        leaf,
        torch.ones(1).double().expand(50),
    )
    (plain,) = torch.autograd.grad(rotated_iou(leaf, target).sum(), leaf)
    assert spread.equal(plain)


@both_ways
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_boxes_are_computed_in_float32(dtype, use_kernel):
    pred, target = pairs(200, dtype)
    iou = rotated_iou(pred, target)
    assert iou.dtype == dtype
    expected = rotated_iou(pred.float(), target.float())
    torch.testing.assert_close(iou, expected.to(dtype), rtol=torch.finfo(dtype).eps, atol=0)
    assert rotated_iou(pred, target.float()).dtype == torch.float32
    torch.testing.assert_close(rotated_iou(pred, target.float()), expected)
    gradients, _ = weighted_gradients(rotated_iou, pred, target)
    assert gradients.dtype == dtype


@needs_extension
def test_several_threads_give_the_same():
    pred, target = pairs(20000, torch.float32)
    expected, _ = weighted_gradients(rotated_iou, pred, target)
    iou = rotated_iou(pred, target)
    torch.set_num_threads(3)  # the fixture of all tests sets it back
    result, _ = weighted_gradients(rotated_iou, pred, target)
    assert result.equal(expected)
    assert rotated_iou(pred, target).equal(iou)


@needs_extension
def test_target_alone_may_learn():
    pred, target = pairs(10)
    target.requires_grad_()
    (gradient,) = torch.autograd.grad(rotated_iou(pred, target).sum(), target)
    assert gradient.abs().sum() > 0
    with torch.inference_mode():
        assert rotated_iou(pred, target.detach()).shape == (10,)


@pytest.mark.parametrize(
    ("pred", "target", "mask", "message"),
    [
        (
            torch.zeros(2, 4),
            torch.zeros(2, 5),
            None,
            r"pred must be \(N, 5\) rboxes .* got \(2, 4\)",
        ),
        (torch.zeros(2, 5), torch.zeros(5), None, r"target must be \(N, 5\) rboxes .* got \(5,\)"),
        (torch.zeros(2, 5), torch.zeros(3, 5), None, "pairs, got 2 and 3 boxes"),
        (torch.zeros(2, 5).int(), torch.zeros(2, 5), None, "pred must be floating point"),
        (torch.zeros(2, 5), torch.zeros(2, 5), torch.ones(2), r"mask must be \(2,\) bool"),
        (torch.zeros(2, 5), torch.zeros(2, 5), torch.ones(3) > 0, r"mask must be \(2,\) bool"),
        (torch.zeros(2, 5), torch.zeros(2, 5, device="meta"), None, "target is on meta"),
    ],
)
def test_bad_arguments_are_named(pred, target, mask, message):
    with pytest.raises(ValueError, match=message):
        rotated_iou(pred, target, mask=mask)


@needs_extension
def test_a_direct_call_with_wrong_arguments_is_stopped():
    op, backward = torch.ops.mmext.rotated_iou, torch.ops.mmext._rotated_iou_backward
    boxes = torch.zeros(2, 5)
    for pred, target in ((boxes, boxes[:1]), (boxes[:, :4], boxes[:, :4]), (boxes, boxes.double())):
        with pytest.raises(RuntimeError, match="pred and target must be"):
            op(pred, target, None)
    with pytest.raises(RuntimeError, match="mask must be"):
        op(boxes, boxes, torch.ones(2))
    with pytest.raises(RuntimeError, match="grad has shape"):
        backward(torch.zeros(3), boxes, boxes, None, [True, True])


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc (a CUDA toolkit) is not installed")
def test_cuda_kernels_compile_without_torch(tmp_path):
    source = CSRC / "rotated_iou" / "rotated_iou.cu"
    command = ["nvcc", "-std=c++20", f"-I{CSRC}", "-c", source, "-o", tmp_path / "rotated_iou.o"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_cuda_equals_cpu(masked, dtype):
    pred, target = pairs(1000, dtype)
    pred[:100] = target[:100]
    mask = torch.arange(1000) % 3 == 0 if masked else None

    def call(p, t):
        return rotated_iou(p, t, mask=None if mask is None else mask.to(p.device))

    tolerance = dict(rtol=1e-9, atol=1e-9) if dtype == torch.float64 else dict(rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(
        call(pred.cuda(), target.cuda()).cpu(), call(pred, target), **tolerance
    )
    on_gpu, _ = weighted_gradients(call, pred.cuda(), target.cuda())
    on_cpu, _ = weighted_gradients(call, pred, target)
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, **tolerance)
