"""furthest_point_sample: golden indices, brute force, ties, the origin rule, bad input."""

import math

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from point_samples import CLOUDS, cloud, golden
from rotated_iou_samples import (
    _chosen_way,  # noqa: F401 (a fixture of every test)
    both_ways,
    needs_extension,
)

from mmext.ops import furthest_point_sample
from mmext.ops.point_sampling import furthest_point_sample_reference


@both_ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden_indices(dtype, use_kernel):
    data = golden("point_ops.npz")
    xyz = data["xyz"].to(dtype)
    assert furthest_point_sample(xyz, 128).equal(data["fps_idx"])
    skipped = furthest_point_sample(xyz, 128, skip_origin=True)
    assert skipped.equal(data["fps_idx_votenet_skip_origin"])
    assert not skipped.equal(data["fps_idx"])
    assert furthest_point_sample(xyz[:, :10], 14).equal(data["fps_idx_first10_m14"])
    cube = data["ties_cube_xyz"].to(dtype)[None]
    assert furthest_point_sample(cube, 8)[0].equal(data["ties_cube_fps8_lowest_index"])


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("count", [1, 2, 31, 200, 3000])
def test_kernel_equals_reference(count, kind, dtype):
    points = cloud(kind, count, dtype=dtype)
    wanted, start = min(300, count + 5), count // 2
    for skip_origin in (False, True):
        expected = furthest_point_sample_reference(points, wanted, start, skip_origin)
        result = furthest_point_sample(points, wanted, start=start, skip_origin=skip_origin)
        assert result.equal(expected)


@needs_extension
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(data=st.data())
def test_kernel_equals_reference_for_random_clouds(data):
    count = data.draw(st.integers(1, 600))
    kind = data.draw(st.sampled_from(CLOUDS))
    points = cloud(kind, count, batch=1, seed=data.draw(st.integers(0, 99)))
    points *= 10 ** data.draw(st.floats(-6, 6))
    wanted = data.draw(st.integers(1, 100))
    assert furthest_point_sample(points, wanted).equal(
        furthest_point_sample_reference(points, wanted)
    )


@both_ways
def test_of_equally_far_points_the_lowest_index_is_chosen(use_kernel):
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])[None]
    # The four are equally far from the first point, and farther from each other.
    assert furthest_point_sample(corners, 5).tolist() == [[0, 1, 2, 3, 4]]
    assert furthest_point_sample(corners.flip(1), 5).tolist() == [[0, 2, 1, 3, 4]]
    # Nothing is farther than what was chosen: index 0 by the rule.
    assert furthest_point_sample(corners[:, :2], 5).tolist() == [[0, 1, 0, 0, 0]]
    same = torch.ones(1, 100, 3)
    assert furthest_point_sample(same, 4, start=7).tolist() == [[7, 0, 0, 0]]


@both_ways
def test_points_at_the_origin_are_skipped_but_as_the_first_one(use_kernel):
    points = torch.tensor([[0.0, 0, 0], [0, 0, 0.031], [0, 0, 0.032], [0, 0.01, 0]])[None]
    assert furthest_point_sample(points, 3, skip_origin=True).tolist() == [[0, 2, 2]]
    assert furthest_point_sample(points, 3).tolist() == [[0, 2, 3]]
    assert furthest_point_sample(0 * points, 3, start=2, skip_origin=True).tolist() == [[2, 0, 0]]


@both_ways
def test_samples_are_a_prefix_of_longer_ones(use_kernel):
    points = cloud("random", 500)
    long = furthest_point_sample(points, 64)
    assert furthest_point_sample(points, 20).equal(long[:, :20])
    again = points.gather(1, long[..., None].expand(-1, -1, 3))
    assert furthest_point_sample(again, 30).equal(torch.arange(30).expand(2, 30))


@both_ways
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_point_that_is_not_finite_is_named(value, use_kernel):
    points = cloud("random", 50)
    points[1, 37, 2] = value
    with pytest.raises(
        ValueError, match=r"furthest_point_sample: points\[1, 37\] is \(.*(nan|inf)\)"
    ):
        furthest_point_sample(points, 5)


@both_ways
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_points_are_compared_in_float32(dtype, use_kernel):
    points = cloud("random", 300, dtype=dtype)
    expected = furthest_point_sample(points.float(), 50)
    assert furthest_point_sample(points, 50).equal(expected)


@both_ways
def test_layouts_and_empty_batches(use_kernel):
    points = cloud("random", 60)
    expected = furthest_point_sample(points, 9)
    strided = torch.stack([points, points], -1)[..., 0]
    assert furthest_point_sample(strided, 9).equal(expected)
    assert furthest_point_sample(points.mT.contiguous().mT, 9).equal(expected)
    assert expected.dtype == torch.int64
    assert furthest_point_sample(points[:0], 9).shape == (0, 9)
    assert furthest_point_sample(points[:0, :0], 9).shape == (0, 9)
    learning = points.clone().requires_grad_()
    assert not furthest_point_sample(learning, 9).requires_grad


@needs_extension
def test_several_threads_give_the_same():
    points = cloud("random", 2000, batch=5)
    expected = furthest_point_sample(points, 100)
    torch.set_num_threads(3)  # the fixture of all tests sets it back
    assert furthest_point_sample(points, 100).equal(expected)


@needs_extension
def test_opcheck():
    op = torch.ops.mmext.furthest_point_sample.default
    for batch in (0, 2):
        torch.library.opcheck(op, (cloud("random", 40, batch), 7, 3, True))


@needs_extension
def test_compiles_without_graph_breaks():
    compiled = torch.compile(
        furthest_point_sample, fullgraph=True, backend="aot_eager", dynamic=True
    )
    for count in (50, 70):
        points = cloud("random", count)
        assert compiled(points, 9).equal(furthest_point_sample(points, 9))


@pytest.mark.parametrize(
    ("shape", "wanted", "start", "message"),
    [
        ((5, 3), 2, 0, r"points must be \(B, N, 3\) points x, y, z, got \(5, 3\)"),
        ((1, 5, 4), 2, 0, r"points must be \(B, N, 3\) points x, y, z, got \(1, 5, 4\)"),
        ((1, 5, 3), 0, 0, "num_points must be at least 1, got 0"),
        ((1, 0, 3), 2, 0, "points has no points to choose from"),
        ((1, 5, 3), 2, 5, "start must be an index of the 5 points, got 5"),
        ((1, 5, 3), 2, -1, "start must be an index of the 5 points, got -1"),
    ],
)
def test_bad_arguments_are_named(shape, wanted, start, message):
    with pytest.raises(ValueError, match=message):
        furthest_point_sample(torch.zeros(shape), wanted, start=start)


def test_integers_are_refused():
    with pytest.raises(ValueError, match=r"points must be floating point, got torch\.int64"):
        furthest_point_sample(torch.zeros(1, 5, 3, dtype=torch.int64), 2)


@needs_extension
def test_a_direct_call_with_wrong_arguments_is_stopped():
    op = torch.ops.mmext.furthest_point_sample
    with pytest.raises(RuntimeError, match=r"points must be \(B, N, 3\)"):
        op(torch.zeros(1, 5, 2), 2, 0, False)
    with pytest.raises(RuntimeError, match="does not fit 5 points"):
        op(torch.zeros(1, 5, 3), 2, 5, False)
