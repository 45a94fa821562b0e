import pytest
import torch

from mmext.detection.centernet.keypoint_lookup import best_of_four, move_to_keypoints


def test_the_highest_of_the_four_cells_around():
    heat = torch.arange(24.0).view(1, 4, 6)
    heat[0, 1, 2] = 100
    places = torch.tensor([[[17.0, 9.0], [23.9, 15.9], [24.0, 8.0], [15.9, 7.9], [-5.0, -5.0]]])
    values, cells = best_of_four(heat, places, 8)
    assert cells[0].tolist() == [[2, 1], [2, 1], [4, 2], [2, 1], [1, 1]]
    assert values[0].tolist() == [100, 100, 16, 100, 7]


def test_beyond_the_border_the_last_four_cells_count():
    heat = torch.zeros(1, 4, 6)
    heat[0, 2, 4] = 1
    _, cells = best_of_four(heat, torch.tensor([[[48.0, 32.0], [1e6, 1e6], [39.0, 23.0]]]), 8)
    assert cells[0].tolist() == [[4, 2]] * 3


@pytest.mark.parametrize(("height", "width"), [(1, 5), (5, 1), (1, 1)])
def test_maps_may_be_one_cell_wide(height, width):
    heat = torch.rand(2, height, width)
    values, cells = best_of_four(heat, torch.rand(2, 30, 2) * 60, 8)
    rows, cols = cells[..., 1], cells[..., 0]
    assert (rows < height).all()
    assert (cols < width).all()
    image = torch.arange(2)[:, None].expand(-1, 30)
    assert torch.equal(values, heat[image, rows, cols])


def test_of_equal_cells_the_first():
    _, cells = best_of_four(torch.zeros(1, 4, 4), torch.tensor([[[12.0, 20.0]]]), 8)
    assert cells.tolist() == [[[1, 2]]]


def test_places_move_to_cell_plus_offset_of_their_own_image():
    heat = torch.zeros(2, 4, 4)
    heat[0, 1, 1], heat[1, 2, 2] = 1, 1
    offset = torch.zeros(2, 2, 4, 4)
    offset[0, :, 1, 1] = torch.tensor([0.25, -0.5])
    offset[1, :, 2, 2] = torch.tensor([-0.125, 0.5])
    places = torch.tensor([[12.0, 12.0]]).expand(2, 1, 2)
    moved = move_to_keypoints(places, heat, offset, 8)
    assert moved.tolist() == [[[10.0, 4.0]], [[15.0, 20.0]]]
    assert move_to_keypoints(places[:, :0], heat, offset, 8).shape == (2, 0, 2)
