"""The discriminator in the output space, its entropy input, and its losses."""

import math

import pytest
import torch
from torch.nn import functional

from mmext.segmentation.networks import (
    AdversarialLoss,
    OutputDiscriminator,
    adversarial_loss,
    entropy_map,
)


def test_score_maps():
    model = OutputDiscriminator(num_classes=19)
    with torch.device("meta"):
        model = OutputDiscriminator(num_classes=19)
        assert model(torch.empty(1, 19, 512, 1024)).shape == (1, 1, 16, 32)
        assert model(torch.empty(1, 19, 720, 1280)).shape == (1, 1, 22, 40)
        assert model(torch.empty(1, 19, 32, 63)).shape == (1, 1, 1, 1)


def test_entropy_input():
    logits = 3 * torch.randn(2, 5, 40, 50, dtype=torch.float64)
    probabilities = logits.softmax(1)
    expected = torch.special.entr(probabilities) / math.log(5)
    torch.testing.assert_close(entropy_map(probabilities), expected.float())
    plain = OutputDiscriminator(num_classes=5, base_channels=4)
    model = OutputDiscriminator(num_classes=5, base_channels=4, input_map="entropy")
    model.load_state_dict(plain.state_dict(), strict=True)
    torch.testing.assert_close(model(probabilities.float()), plain(expected.float()))


def test_entropy_of_certainty():
    certain = functional.one_hot(torch.tensor([[[2]]]), 4).permute(0, 3, 1, 2).float()
    certain.requires_grad_()
    assert (entropy_map(certain) == 0).all()
    entropy_map(certain).sum().backward()
    assert certain.grad.isfinite().all()
    even = torch.full((1, 4, 1, 1), 0.25)
    torch.testing.assert_close(entropy_map(even).sum(1), torch.ones(1, 1, 1))


@pytest.mark.parametrize("shape", [(1, 4, 64, 64), (1, 5, 31, 64)])
def test_wrong_input(shape):
    with pytest.raises(ValueError, match=r"got \d classes and .*num_classes=5 classes and sides"):
        OutputDiscriminator(num_classes=5)(torch.zeros(shape))


def test_wrong_input_map():
    with pytest.raises(ValueError, match=r"discriminator\.input_map is 'logits'"):
        OutputDiscriminator(num_classes=5, input_map="logits")


def test_losses_by_hand():
    scores = torch.tensor([[0.0, math.log(3)]])
    # The sigmoids are 1/2 and 3/4.
    expected = {("bce", 0): math.log(2 * 4) / 2, ("bce", 1): math.log(2 * 4 / 3) / 2}
    expected |= {("lsgan", 0): math.log(3) ** 2 / 2}
    expected |= {("lsgan", 1): (1 + (math.log(3) - 1) ** 2) / 2}
    for (kind, label), value in expected.items():
        loss = adversarial_loss(scores, label, kind)
        torch.testing.assert_close(loss, torch.tensor(value))
        weighted = AdversarialLoss(kind, loss_weight=1e-3)(scores, label)
        torch.testing.assert_close(weighted, torch.tensor(1e-3 * value))


@pytest.mark.parametrize("kind", ["bce", "lsgan"])
def test_losses_in_half_precision_are_summed_in_single(kind):
    scores = torch.full((1, 1, 64, 64), 30.0, dtype=torch.bfloat16)
    loss = adversarial_loss(scores, 0, kind)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, torch.tensor(30.0 if kind == "bce" else 900.0))


def test_wrong_kind():
    with pytest.raises(ValueError, match="'hinge', expected 'bce' or 'lsgan'"):
        AdversarialLoss("hinge")
