"""deform_conv2d: the compiled op against its reference, mmcv, and torch's own checks."""

import shutil
import subprocess
import warnings
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from deform_conv_samples import SAMPLES, SMALL, V2, Sample, by_name
from torch.nn.functional import conv2d

from mmext.ops import _extension, deform_conv2d
from mmext.ops.deform_conv import deform_conv2d_reference

CSRC = Path(__file__).parents[2] / "mmext" / "csrc"
needs_extension = pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
TOLERANCE = {
    torch.float64: dict(rtol=1e-10, atol=1e-10),
    torch.float32: dict(rtol=1e-4, atol=1e-4),
}


def pair(value):
    return value if isinstance(value, tuple) else (value, value)


def op_arguments(sample, tensors):
    """The positional arguments of torch.ops.mmext.deform_conv2d and of the reference."""
    settings = [pair(sample.settings[name]) for name in ("stride", "padding", "dilation")]
    names = ("x", "offset", "weight", "bias", "mask")
    values = [tensors.get(name) for name in names]
    return *values, *settings, sample.groups, sample.deform_groups


def outputs_and_gradients(function, tensors, grad=None):
    """The result of ``function(**tensors)`` and its gradients, by name."""
    out = function(**tensors)
    if grad is None:
        make = torch.Generator().manual_seed(1)
        grad = torch.randn(out.shape, generator=make, dtype=torch.float64).to(out)
    gradients = torch.autograd.grad(out, list(tensors.values()), grad)
    return {"out": out.detach()} | dict(zip(tensors, gradients, strict=True))


def ours(sample):
    return lambda **tensors: deform_conv2d(**tensors, **sample.settings)


def reference(sample):
    return lambda **tensors: deform_conv2d_reference(*op_arguments(sample, tensors))


def assert_same(actual, expected, **tolerance):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            actual[name], value, **tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


@needs_extension
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("sample", SAMPLES, ids=by_name)
def test_kernel_equals_reference(sample, dtype):
    tensors = sample.tensors(dtype)
    assert_same(
        outputs_and_gradients(ours(sample), tensors),
        outputs_and_gradients(reference(sample), tensors),
        **TOLERANCE[dtype],
    )


@needs_extension
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.data())
def test_kernel_equals_reference_for_random_shapes(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    groups, deform_groups = draw(1, 3), draw(1, 3)
    kernel, dilation = (draw(1, 3), draw(1, 3)), draw(1, 2)
    sample = Sample(
        "random",
        v2=data.draw(st.booleans()),
        size=(draw(0, 3), groups * deform_groups * draw(1, 9), draw(1, 9), draw(1, 9)),
        out_channels=groups * draw(1, 3),
        kernel=kernel,
        stride=draw(1, 3),
        padding=(dilation * (kernel[0] // 2 + 1), dilation * (kernel[1] // 2 + 1)),
        dilation=dilation,
        groups=groups,
        deform_groups=deform_groups,
        spread=data.draw(st.sampled_from([0.0, 0.5, 2.0, 50.0])),
    )
    tensors = sample.tensors(torch.float64, seed=draw(0, 99))
    assert_same(
        outputs_and_gradients(ours(sample), tensors),
        outputs_and_gradients(reference(sample), tensors),
        **TOLERANCE[torch.float64],
    )


@pytest.mark.parametrize("v2", [True, False])
def test_a_hand_computed_case(v2):
    # One channel, one kernel point: the sample lies at row 0.5, column 0.25.
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    offset = torch.zeros(1, 2, 2, 2)
    offset[0, :, 0, 0] = torch.tensor([0.5, 0.25])
    offset[0, :, 1, 1] = torch.tensor([0.5, 0.0])  # halfway out of the image
    mask = torch.full((1, 1, 2, 2), 0.5) if v2 else None
    out = deform_conv2d(x, offset, torch.full((1, 1, 1, 1), 2.0), torch.ones(1), mask)
    samples = torch.tensor([[2.25, 2.0], [3.0, 2.0]])
    torch.testing.assert_close(out[0, 0], samples * (1.0 if v2 else 2.0) + 1)


def test_zero_offsets_are_a_plain_convolution():
    sample = Sample("plain", size=(2, 16, 11, 13), stride=2, groups=2)
    tensors = sample.tensors()
    out = deform_conv2d(
        tensors["x"],
        torch.zeros_like(tensors["offset"]),
        tensors["weight"],
        tensors["bias"],
        torch.ones_like(tensors["mask"]),
        **sample.settings,
    )
    expected = conv2d(tensors["x"], tensors["weight"], tensors["bias"], 2, 1, 1, 2)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sample", V2[:6], ids=by_name)
def test_equals_mmcv_v2(sample):
    mmcv_ops = pytest.importorskip("mmcv.ops", reason="mmcv's compiled ops are not installed")

    def theirs(x, offset, weight, bias, mask):
        return mmcv_ops.modulated_deform_conv2d(
            x, offset, mask, weight, bias, *sample.settings.values()
        )

    tensors = sample.tensors()
    assert_same(
        outputs_and_gradients(ours(sample), tensors),
        outputs_and_gradients(theirs, tensors),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("sample", V2[:6], ids=by_name)
def test_equals_mmcv_v1(sample):
    mmcv_ops = pytest.importorskip("mmcv.ops", reason="mmcv's compiled ops are not installed")

    def theirs(x, offset, weight):
        return mmcv_ops.deform_conv2d(x, offset, weight, *sample.settings.values())

    tensors = {name: sample.tensors()[name] for name in ("x", "offset", "weight")}
    assert_same(
        outputs_and_gradients(ours(sample), tensors),
        outputs_and_gradients(theirs, tensors),
        rtol=1e-4,
        atol=1e-4,
    )


@pytest.mark.parametrize("use_kernel", [pytest.param(True, marks=needs_extension), False])
@pytest.mark.parametrize(
    "sample",
    [
        Sample("v2", size=(1, 4, 3, 4), out_channels=2, deform_groups=2, groups=2),
        Sample("v1", size=(2, 2, 4, 3), out_channels=2, stride=2, v2=False),
    ],
    ids=by_name,
)
def test_gradcheck(sample, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    tensors = sample.tensors(torch.float64)
    offset = tensors["offset"].detach()
    # Keep away from whole numbers, where the derivative jumps.
    tensors["offset"] = (offset.floor() + 0.1 + 0.8 * (offset % 1)).requires_grad_()
    names = list(tensors)
    assert torch.autograd.gradcheck(
        lambda *values: ours(sample)(**dict(zip(names, values, strict=True))),
        tuple(tensors.values()),
    )


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


@needs_extension
def test_channels_last_is_kept():
    sample = V2[1]
    tensors = sample.tensors()
    expected = outputs_and_gradients(ours(sample), tensors)
    assert expected["out"].is_contiguous()
    tensors["x"] = tensors["x"].detach().to(memory_format=torch.channels_last).requires_grad_()
    result = outputs_and_gradients(ours(sample), tensors)
    assert result["out"].is_contiguous(memory_format=torch.channels_last)
    assert result["x"].is_contiguous(memory_format=torch.channels_last)
    assert_same(result, expected, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("use_kernel", [pytest.param(True, marks=needs_extension), False])
def test_half_precision_is_computed_in_float32(dtype, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    sample = V2[3]
    halves = {
        name: value.detach().to(dtype).requires_grad_() for name, value in sample.tensors().items()
    }
    floats = {name: value.detach().float().requires_grad_() for name, value in halves.items()}
    grad = torch.ones(2, sample.out_channels, *sample.output_size(), dtype=dtype)
    result = outputs_and_gradients(ours(sample), halves, grad)
    expected = outputs_and_gradients(ours(sample), floats, grad.float())
    # The only rounding left is that of the results: half a unit in the last place.
    for name, value in expected.items():
        assert result[name].dtype == dtype
        if name != "bias":  # torch sums the bias gradient in half precision
            torch.testing.assert_close(
                result[name].float(), value, rtol=torch.finfo(dtype).eps * 0.51, atol=1e-5
            )


@pytest.mark.parametrize("use_kernel", [pytest.param(True, marks=needs_extension), False])
def test_autocast_computes_in_float32(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    sample = V2[0]
    tensors = sample.tensors()
    mixed = {**tensors, "offset": tensors["offset"].to(torch.bfloat16)}
    with torch.autocast("cpu", torch.bfloat16):
        out = deform_conv2d(**mixed, **sample.settings)
    assert out.dtype == torch.float32
    rounded = {**tensors, "offset": mixed["offset"].float()}
    torch.testing.assert_close(out, deform_conv2d(**rounded, **sample.settings))
    out.sum().backward()
    assert tensors["offset"].grad.abs().sum() > 0


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


@needs_extension
@pytest.mark.parametrize("name", ["x", "offset", "weight", "bias", "mask"])
def test_each_gradient_alone(name):
    sample = V2[3]
    tensors = sample.tensors()
    expected = outputs_and_gradients(ours(sample), tensors)[name]
    alone = {key: value.detach() for key, value in tensors.items()}
    alone[name].requires_grad_()
    out = deform_conv2d(**alone, **sample.settings)
    make = torch.Generator().manual_seed(1)
    grad = torch.randn(out.shape, generator=make, dtype=torch.float64).to(out)
    torch.testing.assert_close(torch.autograd.grad(out, alone[name], grad)[0], expected)


def test_pixels_outside_the_image_never_count():
    # An infinite pixel must not leak into samples that do not touch it, nor a NaN offset crash.
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 0, 0] = torch.inf
    offset = torch.full((1, 2, 3, 3), 100.0)
    offset[0, :, 2, 2] = torch.tensor([0.5, 0.5])
    offset[0, :, 1, 1] = torch.nan
    offset[0, 0, 1, 0] = -1e30
    out = deform_conv2d(x, offset, torch.ones(1, 1, 1, 1))
    assert out.abs().sum() == 0


@needs_extension
def test_second_derivatives_are_refused():
    sample = V2[0]
    tensors = sample.tensors()
    out = deform_conv2d(**tensors, **sample.settings)
    (grad,) = torch.autograd.grad(out.square().sum(), tensors["x"], create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        grad.sum().backward()


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
