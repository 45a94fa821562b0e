"""Pseudo labels of a batch: the rule by hand, ties and absent classes, the cross entropy."""

import pytest
import torch
from torch.nn import functional

from mmext.segmentation.adaptation.online_labels import class_balanced_labels, valid_cross_entropy


def maps(rows: list[tuple[int, float]]) -> torch.Tensor:
    """Return (1, 3, 1, N) probabilities with given classes and confidences."""
    found = torch.empty(1, 3, 1, len(rows))
    for place, (label, confidence) in enumerate(rows):
        found[0, :, 0, place] = (1 - confidence) / 2
        found[0, label, 0, place] = confidence
    return found


def test_rule_by_hand():
    # Class 0: .95 .92 .7 .6, rank floor(.5 * 4) = 2 from the top: .7, and pixels above it stay.
    # Class 2: .5 .45 .4, rank 1: .45. Class 1 is never predicted.
    rows = [(0, 0.6), (2, 0.4), (0, 0.95), (2, 0.5), (0, 0.7), (2, 0.45), (0, 0.92)]
    labels = class_balanced_labels(maps(rows))
    assert labels.tolist() == [[[255, 255, 0, 2, 255, 255, 0]]]


def test_the_ceiling_keeps_more_of_a_certain_class():
    rows = [(1, value) for value in (0.99, 0.97, 0.95, 0.93, 0.8)]
    assert class_balanced_labels(maps(rows)).tolist() == [[[1, 1, 1, 1, 255]]]
    assert class_balanced_labels(maps(rows), ceiling=1.0).tolist() == [[[1, 1, 255, 255, 255]]]


def test_a_single_pixel_needs_more_than_the_ceiling():
    assert class_balanced_labels(maps([(0, 0.8)])).tolist() == [[[255]]]
    assert class_balanced_labels(maps([(0, 0.91)])).tolist() == [[[0]]]


@pytest.mark.parametrize("portion", [0.0, 0.3, 1.0])
def test_equals_a_loop_over_classes(portion):
    torch.manual_seed(0)
    probabilities = (4 * torch.randn(2, 5, 9, 11)).softmax(1)
    confidence, predicted = probabilities.max(1)
    expected = torch.full_like(predicted, 255)
    for label in range(5):
        ranked = confidence[predicted == label].sort(descending=True).values
        if len(ranked):
            threshold = min(float(ranked[min(int(portion * len(ranked)), len(ranked) - 1)]), 0.9)
            expected[(predicted == label) & (confidence > threshold)] = label
    assert torch.equal(class_balanced_labels(probabilities, portion), expected)
    assert 0 < (expected == 255).sum() <= expected.numel()


def test_cross_entropy_is_the_mean_of_what_counts_and_0_of_nothing():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    labels = torch.tensor([[[0, 255], [2, 255]]])
    by_hand = functional.cross_entropy(logits[0, :, :, 0].T, labels[0, :, 0])
    torch.testing.assert_close(valid_cross_entropy(logits, labels), by_hand)
    nothing = valid_cross_entropy(logits, torch.full_like(labels, 255))
    nothing.backward()
    assert nothing == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))
