"""Configs of one or several optimisers; several passes as one iteration."""

import torch
from mmengine.optim import OptimWrapper
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
