import math

import pytest
import torch
from mmdet.models.utils import gaussian_radius as mmdet_radius
from mmdet.models.utils import gen_gaussian_target

from mmext.detection.keypoints.targets import gaussian_heat, gaussian_radius, keypoint_targets


def test_legacy_radius_is_the_official_one(golden):
    torch.testing.assert_close(gaussian_radius(golden["sizes"]), golden["radii"])


def test_correct_radius_is_mmdets(golden):
    ours = gaussian_radius(golden["sizes"], form="correct")
    theirs = [mmdet_radius(size, 0.7) for size in golden["sizes"].tolist()]
    torch.testing.assert_close(ours, torch.tensor(theirs, dtype=torch.float64))
    assert (gaussian_radius(golden["sizes"]) > 1.9 * ours).all()


def test_unknown_form(golden):
    with pytest.raises(ValueError, match="'legacy' or 'correct'"):
        gaussian_radius(golden["sizes"], form="new")


@pytest.mark.parametrize(("index", "radius"), [(0, 1), (1, 0), (2, 4), (3, 17)])
def test_heat_is_the_official_one(golden, index, radius):
    cells = torch.tensor([[31, 0], [10, 7]])
    channels = torch.zeros(2, dtype=torch.long)
    heat = gaussian_heat(cells, torch.full((2,), radius), channels, (1, 24, 32))
    torch.testing.assert_close(heat[0], golden["heat"][index], rtol=0, atol=1e-6)


def test_many_points_as_one_after_the_other():
    """More points than are painted in one go."""
    cells = torch.stack((torch.randint(20, (600,)), torch.randint(12, (600,))), -1)
    radii, channels = torch.randint(9, (600,)), torch.randint(3, (600,))
    expected = torch.zeros(3, 12, 20)
    for cell, radius, channel in zip(cells.tolist(), radii.tolist(), channels, strict=True):
        gen_gaussian_target(expected[channel], cell, radius)
    torch.testing.assert_close(gaussian_heat(cells, radii, channels, (3, 12, 20)), expected)


def test_sigma_divisor():
    cells = torch.tensor([[5, 5]])
    heat = gaussian_heat(
        cells, torch.tensor([2]), torch.tensor([0]), (1, 11, 11), sigma_divisor=5.0
    )
    assert heat[0, 5, 6].item() == pytest.approx(math.exp(-1 / 2))  # sigma is (2 * 2 + 1) / 5
    assert (heat > 0).sum() == 25


def test_points_on_and_beyond_the_edges():
    points = torch.tensor([[8.0, 2.5], [-1.0, 3.0], [3.25, 9.0]])
    target = keypoint_targets(
        points, torch.zeros(3), torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]), (2, 2, 6, 8)
    )
    assert target.cells.tolist() == [[7, 2], [0, 3], [3, 5]]
    torch.testing.assert_close(target.offsets, points - target.cells)
    assert target.heat.nonzero().tolist() == [[0, 0, 2, 7], [0, 1, 3, 0], [1, 1, 5, 3]]


def test_gather_reads_the_right_image():
    maps = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    target = keypoint_targets(
        torch.tensor([[1.5, 2.0], [4.0, 0.0]]),
        torch.zeros(2),
        torch.tensor([0, 0]),
        torch.tensor([1, 0]),
        (2, 1, 4, 5),
    )
    assert torch.equal(target.gather(maps), torch.stack((maps[1, :, 2, 1], maps[0, :, 0, 4])))


def test_no_points():
    empty = torch.zeros(0, dtype=torch.long)
    target = keypoint_targets(torch.zeros(0, 2), torch.zeros(0), empty, empty, (2, 3, 4, 5))
    assert target.heat.shape == (2, 3, 4, 5)
    assert not target.heat.any()
    assert target.gather(torch.zeros(2, 7, 4, 5)).shape == (0, 7)
