import torch
from hypothesis import given
from hypothesis import strategies as st

from mmext.detection.centernet.quarter_boxes import (
    boxes_to_points,
    flatten_levels,
    points_to_boxes,
    split_boxes,
)

coordinate = st.floats(-500, 500, width=32)


def test_quarters_meet_at_the_centre():
    tl, br = split_boxes(torch.tensor([[10.0, 20.0, 50.0, 100.0]]))
    assert tl.tolist() == [[10, 20, 30, 60]]
    assert br.tolist() == [[30, 60, 50, 100]]


def test_points_are_y_x_pairs_in_strides_and_only_two_count():
    grid = torch.tensor([[16.0, 8.0, 8.0]])
    points = torch.tensor([[-1.0, -2.0, 1.0, 3.0] + [99.0] * 14])
    assert points_to_boxes(points, grid).tolist() == [[0, 0, 40, 16]]


@given(
    st.tuples(coordinate, coordinate, coordinate, coordinate),
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from([8, 16, 32, 64, 128])),
)
def test_decoding_inverts_encoding(box, cell):
    column, row, stride = cell
    grid = torch.tensor([[column * stride, row * stride, stride]], dtype=torch.float64)
    box = torch.tensor([box], dtype=torch.float64)
    torch.testing.assert_close(points_to_boxes(boxes_to_points(box, grid), grid), box)


def test_levels_are_lined_up_cell_by_cell():
    first = torch.arange(12.0).view(1, 2, 2, 3)
    second = torch.tensor([-1.0, -2.0]).view(1, 2, 1, 1).half()
    flat = flatten_levels([first, second])
    assert flat.dtype == torch.float32
    assert flat[0, 1].tolist() == [1, 7]
    assert flat[0, -1].tolist() == [-1, -2]
