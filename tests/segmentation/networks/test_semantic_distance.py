"""The semantic term of BDL's translation."""

import pytest
import torch
from torch import nn

from mmext.registry import MODELS
from mmext.segmentation.networks import SemanticTerm, semantic_distance

MEAN = [104.00698793, 116.66876762, 122.67891434]


class Passing(nn.Module):
    """A backbone that returns its input, and remembers it."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        self.seen = x
        return [self.norm(x)]


@pytest.fixture
def term():
    if "Passing" not in MODELS:
        MODELS.register_module(module=Passing)
    yield build
    MODELS._module_dict.pop("Passing")


def build(bgr_to_rgb=False, **options):
    segmentor = dict(
        type="mmseg.EncoderDecoder",
        data_preprocessor=dict(
            type="mmseg.SegDataPreProcessor", mean=MEAN, std=[1, 2, 4], bgr_to_rgb=bgr_to_rgb
        ),
        backbone=dict(type="mmext.Passing"),
        decode_head=dict(type="mmext.LogitsHead", num_classes=3),
        test_cfg=dict(mode="whole"),
    )
    return SemanticTerm(segmentor=segmentor, **options)


def test_distance_of_the_code_ignores_scale_and_shift():
    logits = torch.randn(2, 5, 9, 9)
    other = logits * torch.rand(2, 5, 1, 1).add(1) + torch.randn(2, 5, 1, 1)
    assert semantic_distance(logits, other) < 1e-5
    strangers = semantic_distance(torch.randn(1, 5, 99, 99), torch.randn(1, 5, 99, 99))
    torch.testing.assert_close(strangers, torch.tensor(2.0), rtol=0.05, atol=0)


def test_distance_by_hand():
    # Of two pixels each the norm makes -1 and 1 (times 0.99999..).
    up, down = torch.tensor([3.0, 5.0]), torch.tensor([9.0, -9.0])
    maps = torch.stack((up, up))[None, :, None], torch.stack((up, down))[None, :, None]
    torch.testing.assert_close(semantic_distance(*maps), torch.tensor(2.0), rtol=1e-4, atol=0)
    l1 = semantic_distance(*maps, "l1")
    torch.testing.assert_close(l1, torch.tensor((6 + 14) / 4))


def test_wrong_kind(term):
    with pytest.raises(ValueError, match="'mse', expected 'normalized_mse' or 'l1'"):
        term(kind="mse")


@pytest.mark.parametrize("bgr_to_rgb", [False, True])
def test_segmentor_gets_what_it_learnt_from(term, bgr_to_rgb):
    term = term(bgr_to_rgb)
    rgb = torch.randint(256, (2, 3, 4, 6)).float()
    term(rgb / 127.5 - 1)
    channels = rgb if bgr_to_rgb else rgb.flip(1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (MEAN, [1.0, 2.0, 4.0]))
    torch.testing.assert_close(
        term.segmentor.backbone.seen, (channels - mean) / std, rtol=0, atol=1e-4
    )


def test_segmentor_never_learns_or_changes(term):
    term = nn.Sequential(term()).train()[0]
    assert not term.segmentor.training
    images = torch.rand(1, 3, 4, 6, requires_grad=True)
    term(images).square().sum().backward()
    assert (images.grad != 0).any()
    assert not any(p.requires_grad for p in term.parameters())
    assert term.segmentor.backbone.norm.num_batches_tracked == 0


def test_weights(term):
    real, fake, back = torch.rand(3, 1, 3, 4, 6).mul(2).sub(1)
    term = term(translation_weight=2.0, reconstruction_weight=3.0, kind="l1")
    losses = term.losses(real, fake.requires_grad_(), back)
    logits = [term(x) for x in (real, fake, back)]
    expected = [2 * (logits[1] - logits[0]).abs().mean(), 3 * (logits[2] - logits[0]).abs().mean()]
    assert list(losses) == ["loss_semantic", "loss_semantic_cycle"]
    torch.testing.assert_close(list(losses.values()), expected)
