"""The store of generated images."""

import pytest
import torch

from mmext.segmentation.networks import ImagePool


def numbered(*numbers):
    return torch.tensor(numbers, dtype=torch.float32)[:, None, None, None].expand(-1, 3, 4, 5)


def test_fills_first():
    pool = ImagePool(3)
    for number in range(3):
        images = numbered(number)
        assert torch.equal(pool(images), images)
    assert torch.equal(pool.images[:, 0, 0, 0], torch.arange(3.0))


def test_then_exchanges_half_of_them():
    pool = ImagePool(10)
    pool(numbered(*range(10)))
    given = numbered(*range(10, 2010))
    returned = pool(given)
    old = returned[:, 0, 0, 0] != given[:, 0, 0, 0]
    assert 0.45 < old.float().mean() < 0.55
    # Nothing is lost and nothing is there twice.
    left = torch.cat((returned, pool.images))[:, 0, 0, 0]
    assert torch.equal(left.sort().values, torch.arange(2010.0))
    for place in range(10):  # every place is exchanged now and then
        assert pool.images[place, 0, 0, 0] >= 1800


def test_returns_no_view_of_its_store():
    pool = ImagePool(2)
    images = numbered(1, 2).clone().requires_grad_()
    returned = pool(images)
    assert not returned.requires_grad
    returned.zero_()
    assert torch.equal(pool.images[:, 0, 0, 0], torch.tensor([1.0, 2.0]))


def test_size_zero_passes_on():
    pool = ImagePool(0)
    assert torch.equal(pool(numbered(1)), numbered(1))
    assert not len(pool.images)


def test_state_is_kept():
    pool = ImagePool(4)
    pool(numbered(*range(4)))
    resumed = torch.nn.ModuleDict(dict(a=ImagePool(4)))
    resumed.load_state_dict(torch.nn.ModuleDict(dict(a=pool)).state_dict(), strict=True)
    torch.manual_seed(1)
    expected = pool(numbered(*range(4, 20)))
    torch.manual_seed(1)
    assert torch.equal(resumed["a"](numbered(*range(4, 20))), expected)
    # A file without images is complete, too, and empties the store.
    resumed.load_state_dict({}, strict=True)
    assert not len(resumed["a"].images)


def test_images_of_two_sizes():
    pool = ImagePool()
    pool(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\) and got \(3, 8, 12\). Crop all"):
        pool(torch.zeros(1, 3, 8, 12))
