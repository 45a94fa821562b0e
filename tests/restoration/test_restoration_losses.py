import math

import numpy as np
import pytest
import torch

from mmext.registry import MODELS
from mmext.restoration.losses import charbonnier_loss, frequency_loss, psnr_loss


@pytest.fixture
def images():
    return [
        torch.from_numpy(np.random.default_rng(seed).random((2, 3, 16, 16)).astype(np.float32))
        for seed in (2, 3)
    ]


def test_charbonnier_is_the_official_one(images, official):
    expected = official["charbonnier"]["value"]
    assert charbonnier_loss(*images).item() == pytest.approx(expected, rel=1e-6)


def test_charbonnier_of_equal_images_is_eps():
    image = torch.rand(1, 3, 4, 4)
    assert charbonnier_loss(image, image, eps=0.01).item() == pytest.approx(0.01)


def test_psnr_loss_is_minus_the_mean_over_images():
    target = torch.zeros(2, 3, 4, 4)
    pred = torch.stack([torch.full((3, 4, 4), 0.1), torch.full((3, 4, 4), 0.01)])
    assert psnr_loss(pred, target).item() == pytest.approx(-30, abs=1e-3)
    assert psnr_loss(target, target).item() == pytest.approx(-80)


def test_frequency_loss_sees_a_cosine_in_one_coefficient():
    """An even wave of amplitude a over n pixels has one coefficient, of a n / 2."""
    wave = 0.5 * torch.cos(2 * math.pi * 3 * torch.arange(16) / 16).expand(1, 1, 8, 16)
    coefficients = 8 * (16 // 2 + 1) * 2  # real and imaginary parts
    expected = 0.5 * 8 * 16 / 2 / coefficients
    assert frequency_loss(wave, torch.zeros_like(wave)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["CharbonnierLoss", "PSNRLoss", "FrequencyLoss"])
def test_gradients_and_weight(name, images):
    pred = images[0].double().requires_grad_()
    once = MODELS.build(dict(type=f"mmext.{name}"))(pred, images[1])
    thrice = MODELS.build(dict(type=f"mmext.{name}", loss_weight=3.0))(pred, images[1])
    assert thrice.item() == pytest.approx(3 * once.item())
    once.backward()
    assert pred.grad.isfinite().all()
    step = pred.detach() - 1e-3 * pred.grad / pred.grad.norm()
    function = MODELS.get(f"mmext.{name}")()
    assert function(step, images[1]) < once


@pytest.mark.parametrize("function", [charbonnier_loss, psnr_loss, frequency_loss])
def test_half_precision_is_summed_in_float32(function, images):
    pred, target = images
    assert function(pred.bfloat16(), target).dtype == torch.float32


def test_l1_comes_from_torch():
    loss = MODELS.build(dict(type="torch.nn.L1Loss"))
    assert loss(torch.ones(2), torch.zeros(2)) == 1
