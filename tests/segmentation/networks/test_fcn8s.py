"""FCN-8s on VGG-16 against its wiring written out with plain functions."""

import copy

import pytest
import torch
from golden_parameters import official_adaptation_shapes
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn import functional

from mmext.segmentation.networks import FCN8sVGG16, LogitsHead
from mmext.segmentation.networks.fcn8s import bilinear_kernel


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = FCN8sVGG16(num_classes=3)
    model.init_weights()
    for name in ("score_fr", "score_pool4", "score_pool3"):
        torch.nn.init.normal_(model.get_submodule(name).weight, std=0.1)
        torch.nn.init.normal_(model.get_submodule(name).bias)
    return model.eval()


def written_out(weights, image):
    """The network as the paper's Caffe files describe it."""

    def conv(name, x, padding=0):
        return functional.conv2d(
            x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding
        )

    def up(name, x, stride):
        return functional.conv_transpose2d(x, weights[f"{name}.weight"], stride=stride)

    pools, x = {}, image
    for i, count in enumerate((2, 2, 3, 3, 3), start=1):
        for j in range(1, count + 1):
            padding = 100 if (i, j) == (1, 1) else 1
            x = functional.relu(conv(f"conv{i}_{j}", x, padding))
        pools[i] = x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
    fc7 = functional.relu(conv("fc7", functional.relu(conv("fc6", x))))
    upscore2 = up("upscore2", conv("score_fr", fc7), 2)
    pool4 = conv("score_pool4", 0.01 * pools[4])
    height, width = upscore2.shape[2:]
    fused4 = upscore2 + pool4[:, :, 5 : 5 + height, 5 : 5 + width]
    upscore_pool4 = up("upscore_pool4", fused4, 2)
    pool3 = conv("score_pool3", 0.0001 * pools[3])
    height, width = upscore_pool4.shape[2:]
    fused3 = upscore_pool4 + pool3[:, :, 9 : 9 + height, 9 : 9 + width]
    out = up("upscore8", fused3, 8)
    height, width = image.shape[2:]
    return out[:, :, 31 : 31 + height, 31 : 31 + width].contiguous()


@torch.no_grad()
def test_wiring(network):
    image = 50 * torch.randn(1, 3, 21, 38)
    (logits,) = network(image)
    assert logits.shape == (1, 3, 21, 38)
    torch.testing.assert_close(logits, written_out(network.state_dict(), image))


@torch.no_grad()
def test_no_part_is_shifted():
    """Let every layer pass on one grey channel: what comes out lies where it was put in."""
    network = FCN8sVGG16(num_classes=1).eval()
    for name, module in network.named_children():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.zero_()
            module.bias.zero_()
            middle = module.kernel_size[0] // 2
            if not name.startswith("score"):
                module.weight[0, 0, middle, middle] = 1
    image = torch.zeros(1, 3, 128, 128)
    image[:, 0, 40:72, 56:88] = 1  # a whole cell of stride 32 is reached only by luck
    places = torch.arange(128.0)
    for path, scale in (("score_fr", 1), ("score_pool4", 1e-2), ("score_pool3", 1e-4)):
        layer = network.get_submodule(path)
        layer.weight[0, 0] = 1 / scale
        out = network(image)[0][0, 0]
        layer.weight.zero_()
        centre_y = (out.sum(1) * places).sum() / out.sum()
        centre_x = (out.sum(0) * places).sum() / out.sum()
        reach = dict(score_fr=17, score_pool4=9, score_pool3=5)[path]
        assert abs(centre_y - 55.5) < reach
        assert abs(centre_x - 71.5) < reach


def test_tensors_are_the_official_ones():
    with torch.device("meta"):
        state_dict = FCN8sVGG16(num_classes=19).state_dict()
    assert {n: list(t.shape) for n, t in state_dict.items()} == official_adaptation_shapes("fcn8s")


def test_upscores_interpolate_and_do_not_learn(network):
    frozen = {name for name, p in network.named_parameters() if not p.requires_grad}
    assert frozen == {"upscore2.weight", "upscore8.weight", "upscore_pool4.weight"}
    image = torch.randn(1, 3, 6, 7)
    for layer, stride in ((network.upscore2, 2), (network.upscore8, 8)):
        # torch's interpolation has no weights to be wrong, and other borders.
        expected = functional.interpolate(image, scale_factor=stride, mode="bilinear")
        inner = slice(stride, -stride)
        cut = slice(stride // 2, -(stride // 2))
        found = layer(image)[..., cut, cut]
        torch.testing.assert_close(found[..., inner, inner], expected[..., inner, inner])
    assert torch.equal(bilinear_kernel(1), torch.full((2, 2), 0.25))


def test_begins_with_scores_of_zero_and_learns():
    model = FCN8sVGG16(num_classes=3)
    model.init_weights()
    (logits,) = model(50 * torch.randn(1, 3, 17, 17))
    assert (logits == 0).all()
    (logits * torch.randn_like(logits)).sum().backward()
    assert model.score_pool3.weight.grad.abs().sum() > 0
    kernel = copy.deepcopy(model.upscore8.weight)
    assert torch.equal(kernel[0, 0], bilinear_kernel(8))
    assert model.conv5_3.weight.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.02)


def test_head_only_passes_on():
    head = LogitsHead(num_classes=3)
    assert not list(head.parameters())
    logits = torch.randn(1, 3, 4, 5, requires_grad=True)
    assert head([logits]) is logits
    sample = SegDataSample(gt_sem_seg=PixelData(data=torch.randint(3, (1, 4, 5))))
    loss = head.loss([logits], [sample], None)["loss_ce"]
    expected = functional.cross_entropy(logits, sample.gt_sem_seg.data)
    torch.testing.assert_close(loss, expected)


def test_head_with_other_classes():
    with pytest.raises(ValueError, match=r"3 logits per pixel, but decode_head\.num_classes is 19"):
        LogitsHead(num_classes=19)([torch.zeros(1, 3, 4, 4)])


def test_base_config(build_base):
    with torch.device("meta"):
        model = build_base("fcn8s_vgg16")
        assert model(torch.empty(1, 3, 64, 96)).shape == (1, 19, 64, 96)
