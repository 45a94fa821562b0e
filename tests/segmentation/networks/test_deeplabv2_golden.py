"""DeepLab-v2, the discriminator and one step of BDL against numbers of the official code."""

import numpy as np
import pytest
import torch
from golden_parameters import official_adaptation_tensors
from torch.nn import functional

from mmext.checkpoints.discriminator import convert_discriminator
from mmext.registry import MODELS
from mmext.segmentation.networks import adversarial_loss

FOUR = (6, 12, 18, 24)
# A gradient that came back through a hundred norms over 81 values each. The official numbers are
# float32, and as far from what we get in float64 as from what we get in float32.
BACK_THERE = 0.08


@pytest.fixture
def deeplabv2(build_base, deeplabv2_weights):
    model = build_base("deeplabv2_r101", active_rates=FOUR)
    model.load_state_dict(deeplabv2_weights, strict=True)
    return model


@pytest.fixture
def discriminator():
    conversion = convert_discriminator(official_adaptation_tensors("discriminator"))
    model = MODELS.build(conversion.meta["part"])
    model.load_state_dict(conversion.state_dict, strict=True)
    return model


def enlarged(logits, images):
    return functional.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=True)


def distance(found, expected):
    """Return the norm of the difference, relative to that of what is expected."""
    return (found - expected).norm() / expected.norm()


@torch.no_grad()
def test_logits(deeplabv2, golden, golden_inputs):
    image, _, label, wide = golden_inputs
    deeplabv2.eval()
    maps = deeplabv2.backbone(image)
    torch.testing.assert_close(maps[0][:, ::16], golden["layer1"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(maps[3].mean((2, 3)), golden["layer4_mean_c"], rtol=1e-5, atol=1e-5)
    for rates, name in ((FOUR, "four"), ((6, 12), "two")):
        deeplabv2.decode_head.active_rates = rates
        torch.testing.assert_close(
            deeplabv2.decode_head(maps), golden[f"{name}_logits"], rtol=1e-5, atol=1e-5
        )
        torch.testing.assert_close(
            deeplabv2(wide), golden[f"{name}_logits_64x96"], rtol=1e-5, atol=1e-5
        )
    upsampled = enlarged(golden["four_logits"], image)
    torch.testing.assert_close(upsampled[:, :, ::8, ::7], golden["four_upsampled"])
    loss = deeplabv2.decode_head.loss_decode(upsampled, label, ignore_index=255)
    torch.testing.assert_close(loss, golden["four_loss_ce"])


def test_step_of_bdl(deeplabv2, discriminator, golden, golden_inputs):
    """In the order of the official code, without pseudo labels, batch norms in training mode."""
    source, target, label, _ = golden_inputs
    deeplabv2.train()
    conv1 = deeplabv2.backbone.conv1.weight
    first = deeplabv2.decode_head.convs[0]

    discriminator.requires_grad_(False)
    source_logits = enlarged(deeplabv2(source), source)
    assert distance(source_logits[:, :, ::16, ::13], golden["step_src_logits"]) < 1e-3
    loss = deeplabv2.decode_head.loss_decode(source_logits, label, ignore_index=255)
    torch.testing.assert_close(loss, golden["step_loss_seg_src"], rtol=1e-5, atol=0)
    loss.backward()
    source_only = conv1.grad.clone()
    assert distance(source_only[::8], golden["step_grad_conv1_src_only"]) < BACK_THERE
    norm = golden["step_grad_layer5_0_weight_src_only_norm"]
    torch.testing.assert_close(first.weight.grad.norm(), norm, rtol=1e-4, atol=0)

    target_logits = enlarged(deeplabv2(target), target)
    assert distance(target_logits[:, :, ::16, ::13], golden["step_trg_logits"]) < 1e-3
    fooled = adversarial_loss(discriminator(target_logits.softmax(1)), 0)
    torch.testing.assert_close(fooled, golden["step_loss_adv_unweighted"], rtol=1e-5, atol=0)
    (1e-3 * fooled).backward()
    both = golden["step_grad_conv1_total"] - golden["step_grad_conv1_src_only"]
    assert distance((conv1.grad - source_only)[::8], both) < BACK_THERE
    assert distance(first.bias.grad, golden["step_grad_layer5_0_bias_total"]) < 1e-3

    discriminator.requires_grad_(True)
    for name, logits, domain in (("src", source_logits, 0), ("trg", target_logits, 1)):
        loss = adversarial_loss(discriminator(logits.detach().softmax(1)), domain) / 2
        torch.testing.assert_close(loss, golden[f"step_loss_D_{name}"], rtol=1e-5, atol=0)
        loss.backward()
    assert distance(discriminator.conv1.weight.grad[::16], golden["step_grad_D_conv1"]) < BACK_THERE
    bias = discriminator.classifier.bias.grad
    assert distance(bias, golden["step_grad_D_classifier_bias"]) < 1e-3

    norm = deeplabv2.backbone.bn1
    assert norm.num_batches_tracked == golden["step_bn1_num_batches"] == 2
    torch.testing.assert_close(norm.running_mean, golden["step_bn1_running_mean"])
    torch.testing.assert_close(norm.running_var, golden["step_bn1_running_var"])


def test_discriminator(discriminator, golden):
    logits = 3 * np.random.default_rng(0).standard_normal((2, 19, 65, 97))
    probabilities = torch.from_numpy(logits).softmax(1).float()
    scores = discriminator(probabilities)
    torch.testing.assert_close(scores, golden["discriminator_out"], rtol=1e-5, atol=1e-6)
    for label in (0, 1):
        expected = golden[f"discriminator_bce_label{label}"]
        torch.testing.assert_close(adversarial_loss(scores, label), expected)


def test_what_the_official_optimiser_steps(deeplabv2):
    """It takes each parameter once for every module above it: 314 entries for 104 tensors."""
    learning = [p for p in deeplabv2.backbone.parameters() if p.requires_grad]
    assert len(learning) == 104
    above = [module for module in deeplabv2.backbone.modules() if module is not deeplabv2.backbone]
    entries = [p for module in above for p in module.parameters() if p.requires_grad]
    assert len(entries) == 314
    assert len([p for p in deeplabv2.decode_head.parameters() if p.requires_grad]) == 8
