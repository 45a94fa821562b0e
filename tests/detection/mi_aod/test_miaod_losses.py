"""The losses of MI-AOD on cases small enough to be computed by hand."""

import math

import pytest
import torch
from torch import Tensor

from mmext.detection.mi_aod import (
    discrepancy_loss,
    image_class_loss,
    image_class_scores,
    image_class_targets,
    image_uncertainty,
    instance_scores,
    pseudo_class_targets,
)


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def levels(*sizes: int, channels: int = 3, batch: int = 2) -> list[Tensor]:
    return [torch.randn(batch, size, channels) for size in sizes]


# ---- scores of anchors and images


def test_instance_scores_by_hand():
    # Two anchors, two classes. Sigmoids of the mean logits: 0.2, 0.5 and 0.8, 0.1.
    first = torch.tensor([[[logit(0.2), logit(0.5)], [logit(0.8), logit(0.1)]]])
    mil = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0]]])
    (found,) = instance_scores([mil], [first - 1], [first + 1])
    second_anchor = math.exp(0.8) / (math.exp(0.5) + math.exp(0.8))
    expected = [
        [0.25 * (1 - second_anchor), 0.75 * (1 - second_anchor)],
        [0.5 * second_anchor, 0.5 * second_anchor],
    ]
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_instance_scores_of_the_paper_by_hand():
    # One anchor on each of two levels; exponentials of the mean logits: 1, 4 and 3, 1.
    first = [torch.tensor([[[1.0, 4.0]]]).log(), torch.tensor([[[3.0, 1.0]]]).log()]
    mil = [torch.tensor([[[0.0, 0.0]]]), torch.tensor([[[0.0, math.log(3)]]])]
    found = instance_scores(mil, [f - 2 for f in first], [f + 2 for f in first], weight="paper")
    torch.testing.assert_close(found[0], torch.tensor([[[0.5 * 1 / 4, 0.5 * 4 / 5]]]))
    torch.testing.assert_close(found[1], torch.tensor([[[0.25 * 3 / 4, 0.75 * 1 / 5]]]))


def test_scores_of_a_level_sum_to_one_and_anchors_count_nearly_the_same():
    mil, first, second = (levels(7, 4) for _ in range(3))
    found = instance_scores(mil, [10 * f for f in first], [10 * s for s in second])
    for level in found:
        torch.testing.assert_close(level.sum((1, 2)), torch.ones(2))
        anchors = level.sum(2)
        assert (anchors.amax(1) / anchors.amin(1) < math.e).all()


@pytest.mark.parametrize("weight", ["code", "paper"])
def test_classifiers_learn_nothing_from_the_anchor_term(weight):
    mil, first, second = ([x.requires_grad_() for x in levels(7, 4)] for _ in range(3))
    found = instance_scores(mil, first, second, weight=weight)
    scores = image_class_scores(found, level_reduce="sum")
    image_class_loss(scores, torch.ones(2, 3)).backward()
    assert all(x.grad is not None and x.grad.any() for x in mil)
    assert all(x.grad is None for x in first + second)


def test_one_class_does_not_vanish():
    mil, first, second = ([x.requires_grad_() for x in levels(5, 4, channels=1)] for _ in range(3))
    found = instance_scores(mil, first, second)
    weight = first[0].add(second[0]).div(2).sigmoid().softmax(1)
    torch.testing.assert_close(found[0], mil[0].sigmoid() * weight)
    scores = image_class_scores(found)
    assert ((scores > 0.01) & (scores < 0.99)).all()
    loss = image_class_loss(scores, torch.tensor([[1.0], [0.0]]))
    assert loss > 0.1
    loss.backward()
    assert any(x.grad.any() for x in mil)


def test_levels_of_an_image():
    scores = [
        torch.tensor([[[0.1, 0.3], [0.2, 0.0]]]),
        torch.tensor([[[0.05, 0.9]]]),
    ]
    torch.testing.assert_close(image_class_scores(scores), torch.tensor([[0.3, 0.9]]))
    summed = image_class_scores(scores, level_reduce="sum")
    torch.testing.assert_close(summed, torch.tensor([[0.35, 1 - 1e-5]]))
    nothing = image_class_scores([torch.zeros(1, 2, 2)])
    torch.testing.assert_close(nothing, torch.full((1, 2), 1e-5))


def test_classes_of_labelled_images():
    labels = [torch.tensor([2, 0, 2]), torch.tensor([], dtype=torch.long)]
    expected = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert torch.equal(image_class_targets(labels, 4), expected)


def test_image_class_loss_by_hand():
    scores = torch.tensor([[0.5, 0.25], [0.2, 0.9]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    per_image = [math.log(2) + math.log(4 / 3), math.log(1.25) + math.log(10)]
    found = image_class_loss(scores, targets, class_reduce="sum")
    torch.testing.assert_close(found, torch.tensor(sum(per_image) / 2))
    torch.testing.assert_close(image_class_loss(scores, targets), torch.tensor(sum(per_image) / 4))


# ---- pseudo labels


def test_pseudo_labels_by_hand():
    # Means of two probabilities: 0.7 and 0.29 in image 0 come to less than a half,
    # 0.9 and 0.2 to more, on the second level. Image 1 finds nothing.
    first = [
        torch.full((2, 2, 2), logit(0.1)),
        torch.tensor([[[logit(0.9), logit(0.7)]], [[logit(0.3), logit(0.4)]]]),
    ]
    second = [
        torch.full((2, 2, 2), logit(0.2)),
        torch.tensor([[[logit(0.2), logit(0.29)]], [[logit(0.6), logit(0.5)]]]),
    ]
    expected = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert torch.equal(pseudo_class_targets(first, second), expected)
    lower = pseudo_class_targets(first, second, threshold=0.44)
    assert torch.equal(lower, torch.tensor([[1.0, 1.0], [1.0, 1.0]]))


# ---- discrepancy


def test_discrepancy_by_hand():
    first = torch.tensor([[[logit(0.9), logit(0.2)], [logit(0.5), logit(0.5)]]])
    second = torch.tensor([[[logit(0.6), logit(0.3)], [logit(0.5), logit(0.1)]]])
    weight = torch.tensor([[[0.1, 0.2], [0.3, 0.4]]])
    smallest = discrepancy_loss(first, second, weight, goal="min")
    expected = (0.1 * 0.3 + 0.2 * 0.1 + 0.3 * 0.0 + 0.4 * 0.4) / 2
    torch.testing.assert_close(smallest, torch.tensor(expected))
    largest = discrepancy_loss(first, second, weight, goal="max")
    torch.testing.assert_close(largest, torch.tensor(1.0 / 2 - expected))


def test_discrepancy_of_softmax_classifiers():
    first, second, weight = torch.randn(3, 2, 5, 4)
    expected = ((first.softmax(-1) - second.softmax(-1)).abs() * weight).sum() / 4
    found = discrepancy_loss(first, second, weight, goal="min", sigmoid=False)
    torch.testing.assert_close(found, expected)


def test_weights_have_no_gradient():
    first, second, weight = (torch.randn(2, 5, 4, requires_grad=True) for _ in range(3))
    discrepancy_loss(first, second, weight, goal="min").backward()
    assert weight.grad is None
    assert first.grad.any()
    torch.testing.assert_close(first.grad.sign(), -second.grad.sign())


def test_uncertainty_by_hand():
    first = [torch.tensor([[[logit(0.9), logit(0.2)]]]), torch.tensor([[[logit(0.5)] * 2] * 2])]
    second = [torch.tensor([[[logit(0.6), logit(0.3)]]]), torch.tensor([[[logit(0.1)] * 2] * 2])]
    squares = (0.09 + 0.01) / 2, 0.16, 0.16
    for k, expected in ((1, 0.16), (2, 0.16), (3, sum(squares) / 3), (10, sum(squares) / 3)):
        found = image_uncertainty(first, second, topk=k)
        torch.testing.assert_close(found, torch.tensor([expected]))
    plain = image_uncertainty(first, second, topk=1, power=1)
    torch.testing.assert_close(plain, torch.tensor([0.4]))
    weights = [torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.5, 0.0], [0.0, 0.0]]])]
    weighted = image_uncertainty(first, second, weights, topk=2, power=1)
    torch.testing.assert_close(weighted, torch.tensor([(0.3 + 0.5 * 0.4) / 2 / 2]))


# ---- numbers


@pytest.mark.parametrize("weight", ["code", "paper"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sigmoid", [True, False])
def test_extreme_logits_give_finite_losses_and_gradients(weight, channels, sigmoid):
    signs = [torch.randint(0, 2, (2, 6, channels)) * 2.0 - 1 for _ in range(3)]
    mil, first, second = ([(1e4 * s).requires_grad_()] for s in signs)
    found = instance_scores(mil, first, second, weight=weight)
    loss = image_class_loss(image_class_scores(found), torch.ones(2, channels))
    for goal in ("min", "max"):
        loss = loss + discrepancy_loss(first[0], second[0], found[0], goal=goal, sigmoid=sigmoid)
    loss.backward()
    assert loss.isfinite()
    assert all(x[0].grad.isfinite().all() for x in (mil, first, second))
    assert image_uncertainty(first, second, sigmoid=sigmoid).isfinite().all()


def test_compiles_as_one_graph():
    def everything(mil, first, second):
        found = instance_scores(mil, first, second)
        targets = pseudo_class_targets(first, second)
        loss = image_class_loss(image_class_scores(found), targets)
        terms = zip(first, second, found, strict=True)
        return loss + sum(discrepancy_loss(*level, goal="min") for level in terms)

    inputs = [levels(7, 4) for _ in range(3)]
    compiled = torch.compile(everything, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), everything(*inputs))
    torch._dynamo.reset()
