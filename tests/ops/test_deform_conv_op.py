"""deform_conv2d as an op: torch's own checks, layouts, threads, refusals, CUDA."""

import shutil
import subprocess
import warnings
from pathlib import Path

import pytest
import torch
from deform_conv_samples import (
    SAMPLES,
    SMALL,
    TOLERANCE,
    V2,
    Sample,
    assert_same,
    by_name,
    needs_extension,
    op_arguments,
    ours,
    outputs_and_gradients,
    reference,
)

from mmext.ops import _extension, deform_conv2d

CSRC = Path(__file__).parents[2] / "mmext" / "csrc"


@needs_extension
@pytest.mark.parametrize("sample", SMALL[:4] + SMALL[-3:], ids=by_name)
def test_opcheck(sample):
    tensors = sample.tensors()
    arguments = op_arguments(sample, tensors)
    torch.library.opcheck(torch.ops.mmext.deform_conv2d.default, arguments)
    grad = torch.randn(sample.size[0], sample.out_channels, *sample.output_size())
    x, offset, weight, _bias, mask, *settings = arguments
    details = [value.detach() if value is not None else None for value in (x, offset, weight, mask)]
    for output_mask in ([True] * 4, [True, False, False, True], [False, True, True, False]):
        torch.library.opcheck(
            torch.ops.mmext._deform_conv2d_backward.default,
            (grad, *details, *settings, output_mask),
        )


@needs_extension
def test_opcheck_channels_last():
    sample = V2[0]
    tensors = sample.tensors()
    tensors["x"] = tensors["x"].detach().to(memory_format=torch.channels_last).requires_grad_()
    torch.library.opcheck(torch.ops.mmext.deform_conv2d.default, op_arguments(sample, tensors))


@pytest.mark.parametrize("sample", [V2[0], SAMPLES[-1]], ids=by_name)
def test_compiles_without_graph_breaks(sample):
    tensors = sample.tensors()
    compiled = torch.compile(ours(sample), fullgraph=True, backend="aot_eager")
    assert_same(
        outputs_and_gradients(compiled, tensors),
        outputs_and_gradients(ours(sample), tensors),
        rtol=1e-6,
        atol=1e-6,
    )


@pytest.mark.parametrize("use_kernel", [pytest.param(True, marks=needs_extension), False])
@pytest.mark.parametrize("sample", [V2[0], V2[5]], ids=by_name)
def test_empty_batch(sample, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    sample = Sample(**{**vars(sample), "size": (0, *sample.size[1:])})
    result = outputs_and_gradients(ours(sample), sample.tensors())
    assert result["out"].shape == (0, sample.out_channels, *sample.output_size())
    assert result["x"].shape == sample.size
    assert result["weight"].abs().sum() == 0


@pytest.mark.parametrize("sample", [V2[0], V2[3]], ids=by_name)
def test_non_contiguous_inputs(sample):
    tensors = sample.tensors()
    strided = {
        name: torch.stack([value.detach(), value.detach()], -1)[..., 0].requires_grad_()
        for name, value in tensors.items()
    }
    assert not strided["x"].is_contiguous()
    grad = torch.ones(1, 1, 1, 1).expand(2, sample.out_channels, *sample.output_size())
    assert_same(
        outputs_and_gradients(ours(sample), strided, grad),
        outputs_and_gradients(ours(sample), tensors, grad),
        rtol=0,
        atol=0,
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_result_may_be_changed_in_place(layout):
    # An in-place ReLU follows in most networks; torch forbids it on a view made inside an op.
    sample = V2[0]
    tensors = sample.tensors()
    tensors["x"] = tensors["x"].detach().to(memory_format=layout).requires_grad_()
    result = outputs_and_gradients(lambda **given: ours(sample)(**given).relu_(), tensors)
    expected = outputs_and_gradients(lambda **given: ours(sample)(**given).relu(), tensors)
    assert_same(result, expected, rtol=0, atol=0)


@pytest.fixture
def three_threads():
    """Three threads for two images: one of them starts amid one image and ends amid the next."""
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)


@needs_extension
@pytest.mark.usefixtures("three_threads")
def test_threads_that_share_images():
    sample = next(sample for sample in V2 if sample.name == "several_blocks")
    tensors = sample.tensors(torch.float64)
    assert_same(
        outputs_and_gradients(ours(sample), tensors),
        outputs_and_gradients(reference(sample), tensors),
        **TOLERANCE[torch.float64],
    )


@needs_extension
@pytest.mark.usefixtures("three_threads")
def test_inference_mode():
    sample = next(sample for sample in V2 if sample.name == "several_blocks")
    tensors = {name: value.detach() for name, value in sample.tensors().items()}
    expected = deform_conv2d(**tensors, **sample.settings)
    with torch.inference_mode():
        clones = {name: value.clone() for name, value in tensors.items()}
        torch.testing.assert_close(deform_conv2d(**clones, **sample.settings), expected)


@needs_extension
@pytest.mark.usefixtures("three_threads")
def test_results_are_repeatable():
    sample = next(sample for sample in V2 if sample.name == "several_blocks")
    first, second = (outputs_and_gradients(ours(sample), sample.tensors()) for _ in range(2))
    assert_same(first, second, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(x=torch.zeros(8, 7, 9)), r"x must be \(N, C, H, W\), got \(8, 7, 9\)"),
        (dict(weight=torch.zeros(6, 8, 3)), "weight must be"),
        (dict(weight=torch.zeros(6, 4, 3, 3)), r"C=8, groups=1.*got \(6, 4, 3, 3\)"),
        (dict(offset=torch.zeros(2, 9, 7, 9)), r"offset must be.*\(2, 18, 7, 9\), got \(2, 9"),
        (dict(offset=torch.zeros(2, 18, 9, 7)), r"offset must be.*got \(2, 18, 9, 7\)"),
        (dict(mask=torch.zeros(2, 18, 7, 9)), r"mask must be.*\(2, 9, 7, 9\), got \(2, 18"),
        (dict(bias=torch.zeros(8)), r"bias must be \(6,\), got \(8,\)"),
        (dict(stride=0), "stride must be at least 1, got 0"),
        (dict(padding=-1), "padding must be at least 0, got -1"),
        (dict(dilation=(1, 0)), "dilation must be at least 1, got 0"),
        (dict(deform_groups=3), "deform_groups=3 must divide the 8 channels"),
        (dict(groups=0), "groups must be at least 1, got 0"),
        (dict(padding=0, dilation=5), "7x9 pixels is too small for a 3x3 kernel"),
        (dict(x=torch.zeros(2, 8, 7, 9, dtype=torch.int32)), "x must be floating point"),
        (dict(weight=torch.zeros(6, 8, 3, 3, dtype=torch.float64)), "weight is torch.float64, x"),
        (dict(mask=torch.zeros(2, 9, 7, 9, device="meta")), "mask is on meta, x on cpu"),
    ],
)
def test_bad_arguments_are_named(change, message):
    sample = V2[0]
    arguments = {**sample.tensors(), **sample.settings, **change}
    with pytest.raises(ValueError, match=message):
        deform_conv2d(**arguments)


@needs_extension
def test_a_direct_call_with_wrong_shapes_is_stopped():
    x, offset, weight, bias, mask, *rest = op_arguments(V2[0], V2[0].tensors())
    with pytest.raises(RuntimeError, match="offset has shape"):
        torch.ops.mmext.deform_conv2d(x, offset[:, :9], weight, bias, mask, *rest)
    with pytest.raises(RuntimeError, match="mask has shape"):
        torch.ops.mmext.deform_conv2d(x, offset, weight, bias, mask[:1], *rest)


def test_fallback_gives_the_same(monkeypatch):
    sample = V2[3]
    tensors = sample.tensors()
    expected = outputs_and_gradients(ours(sample), tensors)
    monkeypatch.setattr(_extension, "LOADED", False)
    assert_same(outputs_and_gradients(ours(sample), tensors), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'mmext._C'"), "are not built"),
        (ImportError("undefined symbol: abc"), "do not load: undefined symbol: abc"),
    ],
)
def test_a_missing_extension_warns_once(error, message, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr(_extension.importlib, "import_module", fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert _extension.load() is False
    assert len(caught) == 1
    assert message in str(caught[0].message)
    assert "build_ext --inplace" in str(caught[0].message)


@needs_extension
def test_an_extension_of_an_older_source_is_not_used(monkeypatch):
    monkeypatch.setattr(_extension, "_NEWEST", "an_op_of_tomorrow")
    with pytest.warns(UserWarning, match="built before an_op_of_tomorrow was written.*build_ext"):
        assert _extension.load() is False


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc (a CUDA toolkit) is not installed")
def test_cuda_kernels_compile_without_torch(tmp_path):
    source = CSRC / "deform_conv" / "deform_conv.cu"
    command = ["nvcc", "-std=c++20", f"-I{CSRC}", "-c", source, "-o", tmp_path / "deform_conv.o"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_cuda_equals_cpu(sample, dtype):
    tensors = sample.tensors(dtype)
    on_gpu = {name: value.detach().cuda().requires_grad_() for name, value in tensors.items()}
    result = outputs_and_gradients(ours(sample), on_gpu)
    assert_same(
        {name: value.cpu() for name, value in result.items()},
        outputs_and_gradients(ours(sample), tensors),
        **TOLERANCE[dtype],
    )
