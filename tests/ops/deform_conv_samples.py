"""Sample inputs of the deformable convolution, and what compares results, for its tests."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from mmext.ops import _extension, deform_conv2d
from mmext.ops.deform_conv import deform_conv2d_reference

needs_extension = pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
TOLERANCE = {
    torch.float64: dict(rtol=1e-10, atol=1e-10),
    torch.float32: dict(rtol=1e-4, atol=1e-4),
}


@dataclass(frozen=True)
class Sample:
    name: str
    v2: bool = True
    size: tuple[int, int, int, int] = (2, 8, 7, 9)
    out_channels: int = 6
    kernel: tuple[int, int] = (3, 3)
    stride: int | tuple[int, int] = 1
    padding: int | tuple[int, int] = 1
    dilation: int | tuple[int, int] = 1
    groups: int = 1
    deform_groups: int = 1
    bias: bool = True
    spread: float = 1.5  # standard deviation of the offsets in pixels
    whole: bool = False  # offsets are whole numbers

    @property
    def settings(self) -> dict:
        names = ("stride", "padding", "dilation", "groups", "deform_groups")
        return {name: getattr(self, name) for name in names}

    def output_size(self) -> tuple[int, int]:
        convolution = torch.nn.functional.conv2d(
            torch.empty(1, 1, *self.size[2:]),
            torch.empty(1, 1, *self.kernel),
            None,
            self.stride,
            self.padding,
            self.dilation,
        )
        return tuple(convolution.shape[2:])

    def tensors(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> dict[str, Tensor]:
        """Return the tensor arguments of ``deform_conv2d``, all requiring gradients."""
        make = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=make, dtype=torch.float64)

        n, c = self.size[:2]
        kh, kw = self.kernel
        taps = self.deform_groups * kh * kw
        offset = normal(n, 2 * taps, *self.output_size()) * self.spread
        tensors = {
            "x": normal(*self.size),
            "offset": offset.round() if self.whole else offset,
            "weight": normal(self.out_channels, c // self.groups, kh, kw) * 0.2,
        }
        if self.bias:
            tensors["bias"] = normal(self.out_channels)
        if self.v2:
            tensors["mask"] = normal(n, taps, *self.output_size()).sigmoid()
        return {name: value.to(dtype).requires_grad_() for name, value in tensors.items()}


V2 = [
    Sample("plain"),
    Sample("groups", groups=2),
    Sample("depthwise", groups=8, out_channels=8),
    Sample("deform_groups", deform_groups=4),
    Sample("groups_across_deform_groups", size=(1, 12, 6, 5), groups=3, deform_groups=2),
    Sample("stride_dilation", stride=(2, 1), padding=(2, 3), dilation=(2, 3)),
    Sample("uneven_kernel", kernel=(1, 4), padding=(0, 2)),
    Sample("pointwise", kernel=(1, 1), padding=0),
    Sample("odd_channels", size=(3, 19, 5, 5), out_channels=5, bias=False),
    Sample("map_smaller_than_kernel", size=(2, 4, 2, 3), kernel=(5, 5), padding=2),
    Sample("single_pixel", size=(1, 2, 1, 1)),
    Sample("far_offsets", spread=30.0),
    Sample("whole_offsets", whole=True),
    Sample("several_blocks", size=(2, 96, 34, 33), out_channels=8),
]
SAMPLES = V2 + [replace(sample, name=f"{sample.name}_v1", v2=False) for sample in V2[::2]]
SMALL = [sample for sample in SAMPLES if torch.Size(sample.size).numel() < 1200]


def by_name(sample: Sample) -> str:
    return sample.name


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
