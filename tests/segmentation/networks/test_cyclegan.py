"""The networks of CycleGAN against the official layers written out with plain functions."""

import pytest
import torch
from golden_parameters import official_adaptation_shapes, official_adaptation_tensors
from torch import nn
from torch.nn import functional

from mmext.checkpoints.cyclegan import convert_cyclegan
from mmext.registry import MODELS
from mmext.segmentation.networks import CycleGANGenerator, PatchDiscriminator


def generator_written_out(weights, x):
    """Nine blocks, by the official names."""

    def conv(name, x, **options):
        return functional.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    def reflect(x, n):
        return functional.pad(x, (n, n, n, n), "reflect")

    def norm_relu(x):
        return functional.instance_norm(x).relu()

    x = norm_relu(conv("model.1", reflect(x, 3)))
    for i in (4, 7):
        x = norm_relu(conv(f"model.{i}", x, stride=2, padding=1))
    for i in range(10, 19):
        block = f"model.{i}.conv_block"
        y = norm_relu(conv(f"{block}.1", reflect(x, 1)))
        x = x + functional.instance_norm(conv(f"{block}.5", reflect(y, 1)))
    for i in (19, 22):
        weight, bias = weights[f"model.{i}.weight"], weights[f"model.{i}.bias"]
        options = dict(stride=2, padding=1, output_padding=1)
        x = norm_relu(functional.conv_transpose2d(x, weight, bias, **options))
    return conv("model.26", reflect(x, 3)).tanh()


def discriminator_written_out(weights, x):
    for i, (stride, norm) in {0: (2, 0), 2: (2, 1), 5: (2, 1), 8: (1, 1), 11: (1, 0)}.items():
        weight, bias = weights[f"model.{i}.weight"], weights[f"model.{i}.bias"]
        x = functional.conv2d(x, weight, bias, stride=stride, padding=1)
        if norm:
            x = functional.instance_norm(x)
        if i < 11:
            x = functional.leaky_relu(x, 0.2)
    return x


@pytest.mark.parametrize(
    ("network", "reference"),
    [
        ("generator", generator_written_out),
        ("patch_discriminator", discriminator_written_out),
    ],
)
@pytest.mark.parametrize("running_stats", ["drop", "keep"])
@torch.no_grad()
def test_official_weights(network, reference, running_stats):
    official = official_adaptation_tensors(network)
    conversion = convert_cyclegan(official, running_stats=running_stats)
    model = MODELS.build(conversion.meta["part"]).train()
    model.load_state_dict(conversion.state_dict, strict=True)
    images = torch.rand(2, 3, 32, 40) * 2 - 1
    expected = reference(official, images)
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
    if running_stats == "drop":  # per image in eval() too
        torch.testing.assert_close(model.eval()(images), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_running_statistics_are_used_in_eval_only():
    model = CycleGANGenerator(base_channels=4, num_blocks=1, track_running_stats=True)
    model.init_weights()
    images = torch.rand(2, 3, 32, 32) * 2 - 1
    trained = model.train()(images)
    alone = model(images[:1])
    torch.testing.assert_close(trained[:1], alone)
    norm = model.stem[1]
    assert (norm.running_mean != 0).all()
    assert (norm.running_var != 1).all()
    assert (model.eval()(images) - trained).abs().max() > 0.01


@pytest.mark.parametrize("size", [(33, 50), (36, 47)])
@torch.no_grad()
def test_every_size_is_kept(size):
    model = CycleGANGenerator(base_channels=4, num_blocks=1)
    model.init_weights()
    images = torch.rand(1, 3, *size) * 2 - 1
    bottom, right = -size[0] % 4, -size[1] % 4
    padded = functional.pad(images, (0, right, 0, bottom), "reflect")
    expected = model(padded)[..., : size[0], : size[1]]
    torch.testing.assert_close(model(images), expected)
    assert model(images).shape == images.shape


def test_as_many_tensors_as_the_official_networks():
    for kind, network in (
        (CycleGANGenerator, "generator"),
        (PatchDiscriminator, "patch_discriminator"),
    ):
        shapes = official_adaptation_shapes(network)
        with torch.device("meta"):
            kept, dropped = (kind(track_running_stats=keep).state_dict() for keep in (True, False))
        assert len(kept) == len(shapes)
        assert sum(t.numel() for t in kept.values()) == sum(
            torch.Size(shape).numel() for shape in shapes.values()
        )
        assert len(dropped) == sum(not name.rsplit(".")[-1].count("_") for name in shapes)


def test_begins_as_the_official_code_does():
    model = CycleGANGenerator()
    model.init_weights()
    for layer in (model.blocks[3].conv2, model.ups[0][0]):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert (layer.bias == 0).all()


def test_patches_of_70_pixels():
    model = PatchDiscriminator(track_running_stats=True).eval()  # norms mix no pixels
    model.init_weights()
    images = torch.rand(1, 3, 256, 256, requires_grad=True)
    scores = model(images)
    assert scores.shape == (1, 1, 30, 30)
    scores[0, 0, 15, 15].backward()
    seen = images.grad.abs().sum((0, 1)) > 0
    assert seen.any(0).sum() == seen.any(1).sum() == 70


@pytest.mark.parametrize("num_downs", [0, 1, 3])
@torch.no_grad()
def test_steps_down(num_downs):
    """Each step doubles the channels of the blocks and halves what they look at."""
    generator = CycleGANGenerator(base_channels=4, num_blocks=1, num_downs=num_downs).eval()
    seen = []
    generator.blocks.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    images = torch.rand(1, 3, 27, 34)
    assert generator(images).shape == images.shape
    step = 2**num_downs
    assert seen == [(1, 4 * step, -(-27 // step), -(-34 // step))]


@torch.no_grad()
def test_without_norms_a_generator_sees_how_bright_an_image_is():
    images = torch.rand(1, 3, 32, 32) - 0.5
    kaiming = dict(type="Kaiming", layer=["Conv2d", "ConvTranspose2d"])
    for norm in (True, False):
        torch.manual_seed(0)
        model = CycleGANGenerator(base_channels=4, num_blocks=1, norm=norm, init_cfg=kaiming)
        model.init_weights()
        assert ((model(images) - model(images + 0.3)).abs().max() < 1e-4) == norm


@torch.no_grad()
def test_a_residual_generator_changes_an_image():
    model = CycleGANGenerator(base_channels=4, num_blocks=1, residual=True)
    images = torch.rand(1, 3, 33, 30) * 2 - 1
    model.out.weight.zero_()
    model.out.bias.zero_()
    torch.testing.assert_close(model(images), images)
    model.out.bias.fill_(-0.5)
    torch.testing.assert_close(model(images), (images - 0.5).clamp(min=-1))


def test_a_discriminator_without_norms_has_the_same_layers():
    found, expected = (PatchDiscriminator(base_channels=4, norm=norm) for norm in (False, True))
    assert not any(isinstance(layer, nn.InstanceNorm2d) for layer in found.modules())
    assert found.state_dict().keys() == expected.state_dict().keys()
    assert found(torch.zeros(1, 3, 64, 64)).shape == expected(torch.zeros(1, 3, 64, 64)).shape
