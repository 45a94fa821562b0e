"""DCN and DCNv2 as layers: mmcv's state dicts, ConvModule, ResNet, compile and export."""

import pytest
import torch
from mmcv.cnn import ConvModule, build_conv_layer
from mmdet.models import ResNet
from torch import nn

from mmext.ops import DCN, DCNv2, _extension

needs_extension = pytest.mark.skipif(not _extension.LOADED, reason="mmext._C is not built")
LAYERS = pytest.mark.parametrize("layer_type", [DCN, DCNv2])


def randomised(layer):
    """The layer with offsets (and masks) that differ from those of a plain convolution."""
    make = torch.Generator().manual_seed(0)
    for parameter in layer.conv_offset.parameters():
        parameter.data = torch.randn(parameter.shape, generator=make) * 0.1
    return layer


def picture(*size):
    return torch.randn(*size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options",
    [
        dict(padding=1),
        dict(stride=2, padding=2, dilation=2, groups=2, deform_groups=4),
        dict(padding=1, bias=False),
    ],
)
@LAYERS
def test_loads_the_state_dict_of_mmcv(layer_type, options):
    mmcv_ops = pytest.importorskip("mmcv.ops", reason="mmcv's compiled ops are not installed")
    if layer_type is DCN:
        options = {**options, "bias": False}  # mmcv's layer has none
        theirs = mmcv_ops.DeformConv2dPack(8, 6, 3, **options)
    else:
        theirs = mmcv_ops.ModulatedDeformConv2dPack(8, 6, 3, **options)
    randomised(theirs)
    layer = layer_type(8, 6, 3, **options)
    layer.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(layer.state_dict(), strict=True)
    x = picture(2, 8, 9, 11)
    torch.testing.assert_close(layer(x), theirs(x), rtol=1e-4, atol=1e-5)


@LAYERS
def test_starts_as_a_plain_convolution(layer_type):
    layer = layer_type(4, 6, 3, padding=1)
    x = picture(1, 4, 5, 6)
    mask = 0.5 if layer_type is DCNv2 else 1.0  # the sigmoid of zero
    expected = nn.functional.conv2d(x, layer.weight * mask, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@LAYERS
def test_works_on_maps_smaller_than_its_kernel(layer_type):
    layer = randomised(layer_type(4, 6, 3, padding=1))
    assert layer(picture(2, 4, 2, 3)).shape == (2, 6, 2, 3)


@pytest.mark.parametrize("name", ["DCN", "DCNv2"])
def test_conv_module_builds_it(name):
    module = ConvModule(8, 6, 3, padding=1, conv_cfg=dict(type=f"mmext.{name}", deform_groups=2))
    assert type(module.conv) is {"DCN": DCN, "DCNv2": DCNv2}[name]
    assert module.with_bias
    assert module.conv.bias is not None
    module.init_weights()
    assert module.conv.conv_offset.weight.abs().sum() == 0
    assert module(picture(2, 8, 5, 7)).shape == (2, 6, 5, 7)


def test_conv_module_with_norm_has_no_bias():
    module = ConvModule(
        8, 6, 3, padding=1, conv_cfg=dict(type="mmext.DCNv2"), norm_cfg=dict(type="BN")
    )
    assert module.conv.bias is None


def test_build_conv_layer_reports_bad_groups():
    with pytest.raises(ValueError, match="deform_groups=3 must divide in_channels"):
        build_conv_layer(dict(type="mmext.DCNv2", deform_groups=3), 8, 6, 3)


@pytest.mark.parametrize("name", ["DCN", "DCNv2"])
def test_resnet_takes_it(name):
    backbone = ResNet(
        50,
        base_channels=8,
        zero_init_residual=False,
        dcn=dict(type=f"mmext.{name}", deform_groups=1, fallback_on_stride=False),
        stage_with_dcn=(False, False, True, True),
    )
    backbone.init_weights()
    layers = [module for module in backbone.modules() if isinstance(module, DCN | DCNv2)]
    assert len(layers) == 9
    assert all(layer.conv_offset.weight.abs().sum() == 0 for layer in layers)
    features = backbone(picture(1, 3, 64, 96))
    assert [tuple(level.shape[2:]) for level in features] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    sum(level.mean() for level in features).backward()
    assert all(layer.conv_offset.weight.grad.abs().sum() > 0 for layer in layers)


@LAYERS
def test_compiles_without_graph_breaks(layer_type):
    layer = randomised(layer_type(4, 6, 3, padding=1))
    compiled = torch.compile(layer, fullgraph=True)
    x = picture(2, 4, 7, 5).requires_grad_()
    torch.testing.assert_close(compiled(x), layer(x))
    (gradient,) = torch.autograd.grad(compiled(x).square().sum(), x)
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


@needs_extension
@LAYERS
def test_exports_with_dynamic_sizes(layer_type):
    layer = randomised(layer_type(4, 6, 3, stride=2, padding=1)).eval()
    batch = torch.export.Dim("batch", max=64)
    height, width = (torch.export.Dim(name, min=3, max=64) for name in ("height", "width"))
    program = torch.export.export(
        layer, (picture(3, 4, 9, 11),), dynamic_shapes=({0: batch, 2: height, 3: width},)
    )
    x = picture(2, 4, 16, 7)
    torch.testing.assert_close(program.module()(x), layer(x))
    assert any("mmext.deform_conv2d" in str(node.target) for node in program.graph.nodes)


@LAYERS
def test_trains_under_autocast(layer_type):
    layer = randomised(layer_type(4, 6, 3, padding=1))
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(nn.functional.conv2d(picture(1, 4, 6, 6), torch.ones(4, 4, 1, 1)))
    out.float().square().mean().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())
