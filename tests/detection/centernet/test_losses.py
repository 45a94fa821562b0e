import math

import pytest
import torch
from torch.autograd import gradcheck

from mmext.detection.centernet import PlusOneGIoULoss, SeparateFocalLoss
from mmext.detection.centernet.losses import plus_one_giou_loss, separate_focal_loss


def test_giou_of_apart_boxes_counts_pixels():
    a, b = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[2.0, 0, 3, 1]])  # 2x2 pixels each
    loss = plus_one_giou_loss(a, b, reduction="none")
    torch.testing.assert_close(loss, torch.tensor([1.0]))  # side by side: hull = union
    far = plus_one_giou_loss(a, b + torch.tensor([4.0, 0, 4, 0]), reduction="none")
    torch.testing.assert_close(far, torch.tensor([1 + (16 - 8) / 16]))


def test_giou_of_nested_boxes():
    inner, outer = torch.tensor([[1.0, 1, 2, 2]]), torch.tensor([[0.0, 0, 3, 3]])
    loss = plus_one_giou_loss(inner, outer, reduction="none")
    torch.testing.assert_close(loss, torch.tensor([1 - 4 / 16]))


def test_giou_gradients():
    torch.manual_seed(0)
    corner = torch.rand(6, 2, dtype=torch.float64) * 4
    pred = torch.cat((corner, corner + 1 + torch.rand(6, 2)), 1).double().requires_grad_()
    target = pred.detach() + torch.rand(6, 4, dtype=torch.float64)
    assert gradcheck(lambda p: plus_one_giou_loss(p, target, reduction="none"), pred)


def test_giou_of_inverted_and_point_boxes_is_finite():
    pred = torch.tensor([[5.0, 5, 1, 1], [3, 3, 3, 3], [9, 0, 2, 5]], requires_grad=True)
    loss = plus_one_giou_loss(pred, torch.tensor([[0.0, 0, 4, 4]]).expand(3, 4))
    loss.backward()
    assert loss.isfinite()
    assert pred.grad.isfinite().all()


def test_giou_leads_doubly_inverted_boxes_back():
    """Descending from a box inverted by far more than a pixel ends at the target, never below 0."""
    target = torch.tensor([[0.0, 0, 4, 4]])
    pred = torch.tensor([[8.0, 9, -3, -2]], requires_grad=True)
    optimizer = torch.optim.Adam([pred], lr=0.1)
    for _ in range(600):
        loss = plus_one_giou_loss(pred, target)
        assert loss >= 0
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(pred.detach(), target, atol=0.2, rtol=0)


def test_giou_module_weighs_and_divides():
    torch.manual_seed(0)
    pred, target = torch.rand(4, 4).cumsum(1), torch.rand(4, 4).cumsum(1)
    expected = 2 * plus_one_giou_loss(pred, target, reduction="sum") / 7
    torch.testing.assert_close(
        PlusOneGIoULoss(loss_weight=2.0)(pred, target, avg_factor=7), expected
    )


def test_separate_focal_by_hand():
    logits = torch.tensor([0.0, math.log(3), 0.0])  # p = 1/2, 3/4, 1/2
    weight = torch.tensor([0.1, 0.3, 0.0])
    pos = 0.25 * (0.25 * math.log(2) * 0.1 + 1 / 16 * math.log(4 / 3) * 0.3) / 0.4
    neg = 0.75 * 0.25 * math.log(2) / 2
    torch.testing.assert_close(separate_focal_loss(logits, weight), torch.tensor(pos + neg))


def test_separate_focal_without_positives_keeps_the_negatives():
    loss = separate_focal_loss(torch.zeros(3), torch.zeros(3))
    torch.testing.assert_close(loss, torch.tensor(3 * 0.75 * 0.25 * math.log(2)))


@pytest.mark.parametrize("logit", [-1e4, 1e4])
def test_separate_focal_of_saturated_logits_is_finite(logit):
    logits = torch.full((4,), logit, requires_grad=True)
    loss = separate_focal_loss(logits, torch.tensor([0.0, 0.0, 1e-5, 1e-5]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_separate_focal_gradients():
    logits = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([0, 0.2, 0, 0.5, 0.1, 0, 0.2], dtype=torch.float64)
    assert gradcheck(lambda x: separate_focal_loss(x, weight), logits)


def test_separate_focal_module_takes_shared_divisors():
    logits, weight = torch.tensor([0.3, -1.0]), torch.tensor([0.5, 0.0])
    halves = SeparateFocalLoss(loss_weight=0.1)(
        logits, weight, weight_sum=torch.tensor(1.0), num_pos=torch.tensor(2)
    )
    torch.testing.assert_close(halves, 0.05 * separate_focal_loss(logits, weight))
