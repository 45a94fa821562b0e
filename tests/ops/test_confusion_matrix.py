"""confusion_matrix: both ways of counting against numpy's histogram, and classes out of range."""

import numpy as np
import pytest
import torch
from gaussian_pairs import both_ways, needs_extension

from mmext.ops import _extension, confusion_matrix
from mmext.ops.confusion_matrix import count_class_pairs_reference


def numpy_matrix(pred, target, classes):
    """The histogram of the official scripts, image by image."""
    valid = (target >= 0) & (target < classes)
    cells = classes * target[valid].astype(int) + pred[valid]
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def maps(seed=0, classes=19, size=(20, 30)):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, size)
    pred = np.where(rng.random(size) < 0.6, target, rng.integers(0, classes, size))
    target[rng.random(size) < 0.1] = 255
    return torch.from_numpy(pred), torch.from_numpy(target)


@both_ways
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
@pytest.mark.parametrize("size", [(20, 31), (3,), (600, 700)])
def test_matrix_equals_the_numpy_histogram(size, dtype, use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred, target = maps(size=size)
    expected = numpy_matrix(pred.numpy(), target.numpy(), 19)
    np.testing.assert_array_equal(confusion_matrix(pred.to(dtype), target.to(dtype), 19), expected)
    np.testing.assert_array_equal(confusion_matrix(pred, target.to(torch.int16), 19), expected)


@needs_extension
@pytest.mark.parametrize("ignore_index", [255, -100, 3])
def test_kernel_equals_plain_torch_also_out_of_range(ignore_index):
    rng = np.random.default_rng(0)
    pred, target = (torch.from_numpy(rng.integers(-3, 260, (40, 50))) for _ in range(2))
    target[::3] = ignore_index
    found = torch.ops.mmext._count_class_pairs(pred, target, 100, ignore_index)
    assert torch.equal(found, count_class_pairs_reference(pred, target, 100, ignore_index))
    assert found.sum() == pred.numel()


@needs_extension
def test_threads_count_as_one():
    pred, target = maps(size=(900, 1000))
    expected, threads = confusion_matrix(pred, target, 19), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.equal(confusion_matrix(pred, target, 19), expected)
        assert torch.equal(confusion_matrix(pred.T, target.T, 19), expected)
    finally:
        torch.set_num_threads(threads)


@both_ways
def test_matrix_of_nothing_but_ignored_pixels(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    assert confusion_matrix(torch.zeros(4, 4).long(), torch.full((4, 4), 255), 3).sum() == 0
    assert confusion_matrix(torch.zeros(0, 4).long(), torch.zeros(0, 4).long(), 3).sum() == 0


@both_ways
@pytest.mark.parametrize(
    ("pred", "target"), [(3, 0), (0, 3), (0, 5), (3, 3), (-1, 0), (0, -1), (256, 0), (0, 257)]
)
@pytest.mark.parametrize("ignore_index", [255, -100])
def test_classes_out_of_range_are_errors(pred, target, ignore_index, use_kernel, monkeypatch):
    """Also those that a byte would take for others."""
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    maps = [torch.zeros(4, 4).long() for _ in range(2)]
    maps[0][1, 1], maps[1][2, 2] = pred, target
    strange = max(pred, target, key=abs)
    with pytest.raises(ValueError, match=rf"[\[ ]{strange}[,\]].*expected 0 to 2"):
        confusion_matrix(*maps, 3, ignore_index)


@both_ways
def test_a_strange_prediction_is_an_error_also_where_the_target_is_ignored(use_kernel, monkeypatch):
    monkeypatch.setattr(_extension, "LOADED", use_kernel)
    pred, target = torch.full((4, 4), 3), torch.full((4, 4), 255)
    with pytest.raises(ValueError, match=r"classes \[3\]"):
        confusion_matrix(pred, target, 3)


def test_other_sizes_are_errors():
    with pytest.raises(ValueError, match="expected equal sizes"):
        confusion_matrix(torch.zeros(4, 4).long(), torch.zeros(4, 5).long(), 3)


@needs_extension
def test_the_kernel_names_what_it_cannot_count():
    op, zeros = torch.ops.mmext._count_class_pairs, torch.zeros(4, 4).long()
    with pytest.raises(ValueError, match="expected equal shapes"):
        op(zeros, zeros[1:], 3, 255)
    with pytest.raises(TypeError, match="expected the same dtype"):
        op(zeros, zeros.int(), 3, 255)
    with pytest.raises(ValueError, match="expected at least 1"):
        op(zeros, zeros, 0, 255)


@needs_extension
def test_opcheck():
    torch.library.opcheck(torch.ops.mmext._count_class_pairs.default, (*maps(), 19, 255))
