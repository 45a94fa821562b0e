"""The clamp whose gradient leads back inside, by hand and in a training."""

import torch

from mmext.segmentation.networks.returning_clamp import returning_clamp


def test_values_and_gradients_by_hand():
    x = torch.tensor([-2.0, -2, -1, 0, 1, 3, 3], requires_grad=True)
    y = returning_clamp(x)
    assert y.tolist() == [-1, -1, -1, 0, 1, 1, 1]
    # A step goes against the gradient: at -2 a negative one leads inside, at 3 a positive one.
    y.backward(torch.tensor([-1.0, 1, 1, 1, -1, 5, -5]))
    assert x.grad.tolist() == [-1, 0, 1, 1, -1, 5, 0]


def test_a_value_that_left_comes_back():
    """And with an ordinary clamp it does not."""
    ends = []
    for clamp in (returning_clamp, lambda x: x.clamp(-1, 1)):
        x = torch.tensor([4.0], requires_grad=True)
        optimizer = torch.optim.SGD([x], lr=0.5)
        for _ in range(30):
            optimizer.zero_grad()
            (clamp(x) - 0.25).square().sum().backward()
            optimizer.step()
        ends.append(x.item())
    assert abs(ends[0] - 0.25) < 1e-3
    assert ends[1] == 4
