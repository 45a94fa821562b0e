"""points_in_boxes: faces, yaw, degenerate boxes, its reference, bad input."""

import math

import pytest
import torch
from point_samples import cloud
from rotated_iou_samples import (
    _chosen_way,  # noqa: F401 (a fixture of every test)
    both_ways,
    needs_extension,
)

from mmext.ops import points_in_boxes
from mmext.ops.points_in_boxes import points_in_boxes_reference


def boxes(count, dtype=torch.float32, seed=0):
    """(count, 7) boxes of 1 to 4 m in a room of 8 m."""
    make = torch.Generator().manual_seed(seed)
    draw = torch.rand(count, 7, generator=make, dtype=torch.float64)
    draw[:, :3] *= 8
    draw[:, 3:6] = 1 + 3 * draw[:, 3:6]
    draw[:, 6] = 10 * (draw[:, 6] - 0.5)
    return draw.to(dtype)


@both_ways
def test_all_faces_belong_to_the_box(use_kernel):
    box = torch.tensor([[1.0, 2, 3, 2, 4, 6, 0]])
    points = torch.tensor([[2.0, 4, 6], [0, 0, 0], [2, 2, 3], [1, 4, 3], [1, 2, 6], [1, 2, 3]])
    assert points_in_boxes(points, box).all()
    for axis in range(3):
        outside = points[:1].clone()
        outside[0, axis] = torch.nextafter(outside[0, axis], torch.tensor(9.0))
        assert not points_in_boxes(outside, box).any()


@both_ways
def test_yaw_turns_the_length_from_x_towards_y(use_kernel):
    box = torch.tensor([[0.0, 0, 0, 4, 1, 1, math.pi / 6]])
    along = torch.tensor([math.cos(math.pi / 6), math.sin(math.pi / 6), 0])
    mirrored = along * torch.tensor([1, -1, 1])
    points = torch.stack([1.99 * along, 2.01 * along, 1.9 * mirrored, -1.99 * along])
    assert points_in_boxes(points, box)[:, 0].tolist() == [True, False, False, True]


@both_ways
def test_degenerate_boxes_and_points(use_kernel):
    point = torch.tensor([[1.0, 1, 1], [math.nan, 1, 1], [math.inf, 1, 1]])
    box = torch.tensor(
        [[1.0, 1, 1, 0, 0, 0, 0], [1, 1, 1, -1, 2, 2, 0], [1, 1, 1, math.nan, 2, 2, 0]]
    )
    inside = points_in_boxes(point, box)
    assert inside.tolist() == [[True, False, False], [False] * 3, [False] * 3]


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sizes", [(1, 1), (63, 3), (64, 1), (65, 20), (5000, 7)])
def test_kernel_equals_reference(sizes, dtype):
    points, box = cloud("lattice", sizes[0], dtype=dtype)[0], boxes(sizes[1], dtype)
    box[0] = torch.tensor([2.0, 2, 2, 4, 4, 4, 0])
    inside = points_in_boxes(points, box)
    assert inside.equal(points_in_boxes_reference(points, box))
    assert inside.any()


@both_ways
def test_half_types_layouts_and_empty_inputs(use_kernel):
    points, box = cloud("random", 200)[0], boxes(5)
    expected = points_in_boxes(points, box)
    assert points_in_boxes(points.T.contiguous().T, box.T.contiguous().T).equal(expected)
    assert points_in_boxes(points.double(), box.double()).equal(expected)
    half = points.half()
    assert points_in_boxes(half, box).equal(points_in_boxes(half.float(), box))
    assert points_in_boxes(points[:0], box).shape == (0, 5)
    assert points_in_boxes(points, box[:0]).shape == (200, 0)
    assert not points_in_boxes(points.clone().requires_grad_(), box).requires_grad


@needs_extension
def test_torch_checks():
    points, box = cloud("random", 40)[0], boxes(5)
    torch.library.opcheck(torch.ops.mmext.points_in_boxes.default, (points, box))
    compiled = torch.compile(points_in_boxes, fullgraph=True, backend="aot_eager", dynamic=True)
    assert compiled(points, box).equal(points_in_boxes(points, box))


@needs_extension
def test_several_threads_give_the_same():
    points, box = cloud("random", 20000, batch=1)[0], boxes(9)
    expected = points_in_boxes(points, box)
    torch.set_num_threads(3)  # the fixture of all tests sets it back
    assert points_in_boxes(points, box).equal(expected)


@pytest.mark.parametrize(
    ("points", "box", "message"),
    [
        (torch.zeros(2, 4), torch.zeros(1, 7), r"points must be \(N, 3\) .* got \(2, 4\)"),
        (torch.zeros(2, 3).int(), torch.zeros(1, 7), "points must be floating point"),
        (torch.zeros(2, 3), torch.zeros(7), r"boxes must be \(N, 7\) .* got \(7,\)"),
        (torch.zeros(2, 3), torch.zeros(1, 7, device="meta"), "boxes is on meta"),
    ],
)
def test_bad_arguments_are_named(points, box, message):
    with pytest.raises(ValueError, match=message):
        points_in_boxes(points, box)


@needs_extension
def test_a_direct_call_with_wrong_arguments_is_stopped():
    with pytest.raises(RuntimeError, match=r"points must be \(N, 3\)"):
        torch.ops.mmext.points_in_boxes(torch.zeros(2, 3), torch.zeros(1, 7).double())
