"""Configs of one or several optimisers; several passes as one iteration."""

import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from torch import nn

from mmext.engine import IterationPasses, frozen, learning, wrapper_configs


def test_configs_of_one_and_of_several_optimisers():
    one = dict(type="OptimWrapper", optimizer=dict(type="SGD"), paramwise_cfg=dict())
    assert wrapper_configs(one) == [one]
    several = dict(constructor="mmext.MultiOptimWrapperConstructor", a=one, b=dict(one))
    assert wrapper_configs(several) == [one, one]


def test_passes_of_an_iteration_count_as_one():
    """Two iterations of two passes, accumulated: one update with the mean of the iterations."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    wrapper = OptimWrapper(torch.optim.SGD(layer.parameters(), lr=1.0), accumulative_counts=2)
    for factors in ((1.0, 2.0), (4.0, 8.0)):
        assert layer.weight.item() == 0
        passes = IterationPasses(wrapper)
        for factor in factors:
            with passes.context(layer):
                loss = factor * layer(torch.ones(1, 1)).sum()
            passes.backward(loss)
        passes.finish()
    assert layer.weight.item() == -((1 + 2) + (4 + 8)) / 2
    assert layer.weight.grad is None
    assert wrapper.inner_count == 2


def test_frozen_gives_back_what_it_found():
    net = torch.nn.Linear(2, 2)
    net.bias.requires_grad_(False)
    with frozen(net):
        assert learning(net) == []
    assert learning(net) == [net.weight]
    assert not net.bias.requires_grad


def test_a_pass_may_leave_parameters_out_and_keep_the_graph():
    net = torch.nn.Linear(2, 1)
    passes = IterationPasses(OptimWrapper(torch.optim.SGD(net.parameters(), lr=1.0)))
    out = net(torch.ones(1, 2)).sum()
    passes.backward(out, [net.bias], retain_graph=True)
    assert net.weight.grad is None
    assert net.bias.grad == 1
    passes.backward(2 * out)
    torch.testing.assert_close(net.weight.grad, torch.full((1, 2), 2.0))
    assert net.bias.grad == 3


def two_layers(**options):
    """A model of two parts with an optimiser each."""
    model = nn.ModuleDict(dict(a=nn.Linear(1, 1), b=nn.Linear(1, 1)))
    part = dict(optimizer=dict(type="SGD", lr=1.0), **options)
    cfg = dict(constructor="mmext.MultiOptimWrapperConstructor", a=part, b=dict(part))
    return model, build_optim_wrapper(model, cfg)


def test_counts_of_a_resumed_training_go_on():
    """mmengine's dict leaves them at 0, and so would sum gradients over other iterations."""
    model, wrappers = two_layers(accumulative_counts=2)
    wrappers.initialize_count_status(model, 3, 5)
    before = model["a"].weight.clone()
    for iteration, updated in ((3, True), (4, True)):  # the last one is an update of its own
        passes = IterationPasses(wrappers["a"])
        assert passes.iteration == iteration
        passes.backward(model["a"](torch.ones(1, 1)).sum())
        passes.finish()
        assert torch.equal(model["a"].weight, before) != updated
        before = model["a"].weight.clone()
    assert wrappers["b"].inner_count == 3


def test_parts_without_gradients_stay_as_they_are():
    model, wrappers = two_layers()
    before = model["a"].weight.clone()
    passes = IterationPasses(wrappers["a"])
    passes.finish()
    assert torch.equal(model["a"].weight, before)
    assert wrappers["a"].inner_count == 1


@pytest.mark.parametrize("rules", [{}, dict(paramwise_cfg=dict(bias_lr_mult=2.0))])
def test_shared_parameters_are_listed_once(rules):
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    second.weight = first.weight
    model = nn.ModuleDict(dict(a=nn.ModuleList([first, second])))
    part = dict(optimizer=dict(type="SGD", lr=1.0), **rules)
    cfg = dict(constructor="mmext.MultiOptimWrapperConstructor", a=part)
    groups = build_optim_wrapper(model, cfg)["a"].optimizer.param_groups
    listed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(listed) == sorted(map(id, (first.weight, first.bias, second.bias)))
