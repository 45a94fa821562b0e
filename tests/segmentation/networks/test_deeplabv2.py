"""DeepLab-v2's own rules, on a small scale."""

import copy

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn import functional

from mmext.registry import MODELS
from mmext.segmentation.networks import DeepLabV2Head, DeepLabV2ResNet


def labelled(label):
    return SegDataSample(gt_sem_seg=PixelData(data=label))


@pytest.mark.parametrize("size", [(512, 1024), (720, 1280), (65, 65)])
def test_sizes_are_rounded_up(build_base, size):
    with torch.device("meta"):
        model = build_base("deeplabv2_r101")
        logits = model(torch.empty(1, 3, *size))
    assert logits.shape == (1, 19, *(side // 8 + 1 for side in size))


def test_batch_norms_use_the_batch_but_do_not_learn():
    model = DeepLabV2ResNet(50)
    model.train()
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 53
    assert all(norm.training for norm in norms)
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    image = torch.randn(1, 3, 33, 33) + 2
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        mean = model.conv1(image).mean((0, 2, 3))
        model(image)
    torch.testing.assert_close(model.bn1.running_mean, 0.1 * mean)
    changed = {
        n.rsplit(".", 1)[-1] for n, t in model.state_dict().items() if (t != before[n]).any()
    }
    assert changed == {"running_mean", "running_var", "num_batches_tracked"}


def test_begins_as_the_official_code_does():
    model = DeepLabV2ResNet(50)
    model.init_weights()
    for name in ("conv1", "layer4.2.conv2"):
        weight = model.get_submodule(name).weight
        assert weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert (model.layer3[0].bn3.weight == 1).all()


@pytest.mark.parametrize("active", [(6,), (6, 12), (24, 6), (6, 12, 18, 24)])
def test_active_rates_are_added_up(active):
    head = DeepLabV2Head(num_classes=5, in_channels=8, active_rates=active)
    feature = torch.randn(2, 8, 9, 13)
    expected = sum(
        functional.conv2d(feature, conv.weight, conv.bias, padding=rate, dilation=rate)
        for rate, conv in zip((6, 12, 18, 24), head.convs, strict=True)
        if rate in active
    )
    logits = head([None, None, None, feature])
    torch.testing.assert_close(logits, expected)
    logits.sum().backward()
    for rate, conv in zip(head.rates, head.convs, strict=True):
        assert conv.weight.requires_grad is (rate in active)
        assert (conv.weight.grad is not None) is (rate in active)


@pytest.mark.parametrize("active", [(), (3,), (6, 9)])
def test_unknown_active_rates(active):
    with pytest.raises(ValueError, match=r"decode_head\.active_rates is .* decode_head\.rates"):
        DeepLabV2Head(num_classes=5, active_rates=active)


def test_loss_counts_labelled_pixels_only():
    head = DeepLabV2Head(num_classes=4, in_channels=8)
    feature = torch.randn(1, 8, 5, 5)
    label = torch.randint(4, (1, 33, 33))
    label[:, :20] = 255
    logits = functional.interpolate(head([feature]), (33, 33), mode="bilinear", align_corners=True)
    losses = head.loss([feature], [labelled(label)], None)
    expected = functional.cross_entropy(logits, label, ignore_index=255)
    torch.testing.assert_close(losses["loss_ce"], expected)


def test_nothing_labelled_costs_nothing():
    head = DeepLabV2Head(num_classes=4, in_channels=8)
    feature = torch.randn(1, 8, 5, 5, requires_grad=True)
    label = torch.full((1, 33, 33), 255)
    loss = head.loss([feature], [labelled(label)], None)["loss_ce"]
    assert loss == 0
    loss.backward()
    assert (feature.grad == 0).all()


def test_two_levels():
    """AdaptSegNet's second classifier is an auxiliary head."""
    head = dict(type="mmext.DeepLabV2Head", num_classes=3)
    loss = dict(type="mmseg.CrossEntropyLoss", avg_non_ignore=True, loss_weight=0.1)
    aux = dict(head, in_channels=1024, in_index=2, loss_decode=loss)
    model = MODELS.build(
        dict(
            type="mmseg.EncoderDecoder",
            backbone=dict(type="mmext.DeepLabV2ResNet", depth=50),
            decode_head=head,
            auxiliary_head=aux,
            train_cfg=dict(),
            test_cfg=dict(mode="whole"),
        )
    )
    losses = model.loss(torch.randn(1, 3, 33, 33), [labelled(torch.zeros(1, 33, 33).long())])
    assert losses.keys() >= {"decode.loss_ce", "aux.loss_ce"}
    assert losses["aux.loss_ce"] < losses["decode.loss_ce"]
