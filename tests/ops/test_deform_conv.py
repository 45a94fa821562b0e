"""deform_conv2d: the compiled op against its reference, mmcv and known cases."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from deform_conv_samples import (
    SAMPLES,
    TOLERANCE,
    V2,
    Sample,
    assert_same,
    by_name,
    needs_extension,
    ours,
    outputs_and_gradients,
    reference,
)
from torch.nn.functional import conv2d

from mmext.ops import _extension, deform_conv2d


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
