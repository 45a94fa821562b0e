"""The official optimiser's oddity: parameters that are listed, and updated, several times."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS
from torch import nn

from mmext.segmentation.adaptation.duplicate_params import duplicated_parameters


def test_entries_are_the_official_ones():
    """314 entries for 104 parameters of DeepLab-v2's ResNet-101, as its own code lists them."""
    backbone = MODELS.build(
        dict(
            type="ResNet",
            depth=101,
            style="caffe",
            strides=(1, 2, 1, 1),
            dilations=(1, 1, 2, 4),
            norm_cfg=dict(type="BN", requires_grad=False),
            base_channels=2,
        )
    )
    entries = duplicated_parameters(backbone)
    assert len(entries) == 314
    assert len({id(parameter) for parameter in entries}) == 104


class Toy(nn.Module):
    """A backbone whose parameter is below three modules."""

    def __init__(self):
        super().__init__()
        layer = nn.Linear(1, 1, bias=False)
        self.backbone = nn.Sequential(nn.Sequential(nn.Sequential(layer)))
        self.head = nn.Linear(1, 1, bias=False)
        for parameter in self.parameters():
            nn.init.ones_(parameter)


def test_steps_equal_the_recorded_ones():
    """Learning rate 0.1, momentum 0.9, gradient 1, start at 1: measured with torch 2.13."""
    model = Toy()
    wrapper = build_optim_wrapper(
        model,
        dict(
            constructor="mmext.DuplicateParamsConstructor",
            optimizer=dict(type="SGD", lr=0.1, momentum=0.9),
            head_lr_mult=1,
        ),
    )
    inner = model.backbone[0][0][0].weight
    for expected in (0.7, -0.1049):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        wrapper.step()
        assert inner.item() == pytest.approx(expected, abs=1e-6)
    # The head has one entry: 1 - 0.1 - 0.19.
    assert model.head.weight.item() == pytest.approx(0.71)


def test_learning_rates_and_refusals():
    config = dict(
        constructor="mmext.DuplicateParamsConstructor", optimizer=dict(type="SGD", lr=0.1)
    )
    groups = build_optim_wrapper(Toy(), config).optimizer.param_groups
    assert [group["lr"] for group in groups] == [0.1, pytest.approx(1.0)]
    assert [len(group["params"]) for group in groups] == [3, 1]
    with pytest.raises(ValueError, match="mixed precision would scale"):
        build_optim_wrapper(Toy(), {**config, "type": "AmpOptimWrapper"})
