"""ball_query, three_nn, knn: golden indices, brute force, ties, shells, bad input."""

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

from mmext.ops import ball_query, knn, three_nn
from mmext.ops.point_neighbors import ball_query_reference, knn_reference, three_nn_reference


@both_ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden_values(dtype, use_kernel):
    data = golden("point_ops.npz")
    xyz, centres, known = (data[name].to(dtype) for name in ("xyz", "centers", "known_xyz"))
    for name in "abcd":
        inner, outer, count = data[f"ball_{name}_par"].tolist()
        index = ball_query(inner, outer, int(count), xyz, centres)
        assert index.equal(data[f"ball_{name}_idx"]), name
    edge = data["ball_edge_xyz"].to(dtype)[None]
    index = ball_query(0.0, float(data["ball_edge_r"]), 4, edge, edge[:, :1])
    assert index[0].equal(data["ball_edge_idx"])
    distance, index = three_nn(xyz, known)
    assert index.equal(data["nn_idx"])
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    torch.testing.assert_close(distance.double(), data["nn_dist"], rtol=0, atol=tolerance)
    assert knn(9, xyz, known).mT.equal(data["knn9_idx"])


@needs_extension
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("count", [1, 3, 33, 700])
def test_kernels_equal_references(count, kind, dtype):
    xyz = cloud(kind, count, dtype=dtype)
    centres = torch.cat([xyz[:, :20], cloud("random", 20, dtype=dtype, seed=1)], 1)
    for inner, outer in ((0.0, 0.5), (1.0, 2.0), (0.0, 100.0)):
        for wanted in (1, 16, 64):
            assert ball_query(inner, outer, wanted, xyz, centres).equal(
                ball_query_reference(inner, outer, wanted, xyz, centres)
            )
    result, expected = three_nn(centres, xyz), three_nn_reference(centres, xyz)
    assert result[1].equal(expected[1])
    # Roots: torch's own differ by a rounding.
    torch.testing.assert_close(result[0], expected[0], rtol=torch.finfo(dtype).eps, atol=0)
    for k in {1, min(7, count), min(100, count)}:
        assert knn(k, xyz, centres).equal(knn_reference(k, xyz, centres))


@needs_extension
@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(data=st.data())
def test_kernels_equal_references_for_random_clouds(data):
    count = data.draw(st.integers(1, 400))
    seed = data.draw(st.integers(0, 99))
    xyz = cloud(data.draw(st.sampled_from(CLOUDS)), count, batch=1, seed=seed)
    centres = torch.cat([xyz[:, :5], cloud("random", 5, batch=1, seed=seed + 1)], 1)
    outer = 10 ** data.draw(st.floats(-3, 1.5))
    inner = outer * data.draw(st.sampled_from([0, 0.5, 0.99]))
    wanted = data.draw(st.integers(1, 70))
    arguments = (inner, outer, wanted, xyz, centres)
    assert ball_query(*arguments).equal(ball_query_reference(*arguments))
    k = min(wanted, count)
    assert knn(k, xyz, centres).equal(knn_reference(k, xyz, centres))


@both_ways
def test_a_ball_takes_the_first_points_by_index(use_kernel):
    xyz = torch.tensor([[3.0, 0, 0], [0.9, 0, 0], [1, 0, 0], [0.1, 0, 0], [0, 0, 0]])[None]
    centre = torch.zeros(1, 1, 3)
    assert ball_query(0, 1, 2, xyz, centre).tolist() == [[[1, 3]]]
    assert ball_query(0, 1, 5, xyz, centre).tolist() == [[[1, 3, 4, 1, 1]]]  # 1 m is outside
    # The inner border belongs to the shell, and so does the centre itself.
    assert ball_query(1, 4, 4, xyz, centre).tolist() == [[[0, 2, 4, 0]]]
    assert ball_query(0, 0.5, 3, xyz, centre + 50).tolist() == [[[0, 0, 0]]]


@both_ways
def test_equally_near_points_come_by_index(use_kernel):
    source = torch.tensor([[0.0, 2, 0], [1, 0, 0], [0, 0, -1], [0, 1, 0], [-1, 0, 0]])[None]
    distance, index = three_nn(torch.zeros(1, 1, 3), source)
    assert index.tolist() == [[[1, 2, 3]]]
    assert distance.tolist() == [[[1, 1, 1]]]
    assert knn(5, source, torch.zeros(1, 1, 3)).tolist() == [[[1], [2], [3], [4], [0]]]
    assert knn(1, source).tolist() == [[[0, 1, 2, 3, 4]]]


@both_ways
def test_fewer_than_three_sources_leave_places_of_infinite_distance(use_kernel):
    source = torch.tensor([[0.0, 0, 3], [0, 0, 2]])[None]
    distance, index = three_nn(torch.zeros(1, 1, 3), source)
    assert index.tolist() == [[[1, 0, 0]]]
    assert distance.tolist() == [[[2, 3, math.inf]]]
    assert (1 / (distance + 1e-8))[0, 0, 2] == 0


@both_ways
@pytest.mark.parametrize(("first", "second"), [("xyz", "center_xyz"), ("target", "source")])
def test_a_point_that_is_not_finite_is_named(first, second, use_kernel):
    good, bad = cloud("random", 50), cloud("random", 50)
    bad[1, 7, 0] = math.nan

    def search(one, other):
        return three_nn(one, other) if first == "target" else knn(3, one, other)

    for name, clouds in ((first, (bad, good)), (second, (good, bad))):
        with pytest.raises(ValueError, match=rf"{name}\[1, 7\] is \(nan, "):
            search(*clouds)
        with pytest.raises(ValueError, match=r"ball_query: \w+\[1, 7\] is \(nan, "):
            ball_query(0, 1, 4, *clouds)


@both_ways
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_points_are_compared_in_float32(dtype, use_kernel):
    xyz, centres = cloud("random", 200, dtype=dtype), cloud("random", 20, dtype=dtype, seed=1)
    single = (xyz.float(), centres.float())
    assert ball_query(0, 1, 8, xyz, centres).equal(ball_query(0, 1, 8, *single))
    assert knn(5, xyz, centres).equal(knn(5, *single))
    distance, index = three_nn(xyz, centres)
    assert distance.dtype == dtype
    assert index.equal(three_nn(*single)[1])
    assert three_nn(xyz, centres.double())[0].dtype == torch.float64


@both_ways
def test_layouts_and_empty_inputs(use_kernel):
    xyz, centres = cloud("random", 80), cloud("random", 9, seed=1)
    strided = torch.stack([xyz, xyz], -1)[..., 0].requires_grad_()
    assert ball_query(0, 1, 4, strided, centres).equal(ball_query(0, 1, 4, xyz, centres))
    distance, index = three_nn(strided, centres)
    assert index.equal(three_nn(xyz, centres)[1])
    assert not distance.requires_grad
    assert knn(4, strided, centres).equal(knn(4, xyz, centres))
    for points, none in ((xyz, centres[:, :0]), (xyz[:0], centres[:0]), (xyz[:, :0], xyz[:, :0])):
        shape = (len(points), 0) if len(points) else (0, 9)
        assert ball_query(0, 1, 4, points, none).shape == (*shape, 4)
        assert three_nn(none, points)[0].shape == (*shape, 3)
    assert knn(4, xyz, centres[:, :0]).shape == (2, 4, 0)


@needs_extension
def test_several_threads_give_the_same():
    xyz, centres = cloud("random", 1000), cloud("random", 500, seed=1)
    expected = ball_query(0, 1, 8, xyz, centres), *three_nn(centres, xyz), knn(9, xyz, centres)
    torch.set_num_threads(3)  # the fixture of all tests sets it back
    result = ball_query(0, 1, 8, xyz, centres), *three_nn(centres, xyz), knn(9, xyz, centres)
    assert all(one.equal(other) for one, other in zip(result, expected, strict=True))


@needs_extension
def test_opcheck():
    xyz, centres = cloud("random", 40), cloud("random", 7, seed=1)
    for clouds in ((xyz, centres), (xyz[:0], centres[:0])):
        torch.library.opcheck(torch.ops.mmext.ball_query.default, (0.5, 2.0, 4, *clouds))
        torch.library.opcheck(torch.ops.mmext.three_nn.default, clouds)
        torch.library.opcheck(torch.ops.mmext.knn.default, (3, *clouds))


@needs_extension
def test_compile_without_graph_breaks():
    def search(xyz, centres):
        return ball_query(0, 1, 4, xyz, centres), *three_nn(xyz, centres), knn(3, xyz, centres)

    compiled = torch.compile(search, fullgraph=True, backend="aot_eager", dynamic=True)
    for count in (40, 60):
        clouds = cloud("random", count), cloud("random", 9, seed=1)
        for one, other in zip(compiled(*clouds), search(*clouds), strict=True):
            assert one.equal(other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: ball_query(0, 1, 0, p, p), "sample_num must be at least 1, got 0"),
        (lambda p: ball_query(0, 0, 4, p, p), "radii must be 0 <= min_radius < max_radius"),
        (lambda p: ball_query(-1, 1, 4, p, p), "got -1 and 1"),
        (lambda p: ball_query(0, 1, 4, p[..., :2], p), r"ball_query: xyz must be .*\(2, 5, 2\)"),
        (lambda p: ball_query(0, 1, 4, p, p[0]), r"center_xyz must be .*\(5, 3\)"),
        (lambda p: ball_query(0, 1, 4, p[:, :0], p), "xyz has no points"),
        (lambda p: three_nn(p, p[:1]), "target has 2 samples, source has 1"),
        (lambda p: three_nn(p, p.int()), "source must be floating point, got torch.int32"),
        (lambda p: three_nn(p, p[:, :0]), "source has no points"),
        (lambda p: three_nn(p, p.to("meta")), "target is on cpu, source on meta"),
        (lambda p: knn(6, p), "k must be from 1 to the 5 points of xyz, got 6"),
        (lambda p: knn(0, p), "k must be from 1 to the 5 points of xyz, got 0"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.zeros(2, 5, 3))


@needs_extension
def test_a_direct_call_with_wrong_arguments_is_stopped():
    points = torch.zeros(2, 5, 3)
    for other in (points[:1], points.double(), points[..., :2]):
        with pytest.raises(RuntimeError, match=r"do not fit|must be \(B, N, 3\)"):
            torch.ops.mmext.three_nn(points, other)
        with pytest.raises(RuntimeError, match=r"do not fit|must be \(B, N, 3\)"):
            torch.ops.mmext.ball_query(0.0, 1.0, 4, other, points)
        with pytest.raises(RuntimeError, match=r"do not fit|must be \(B, N, 3\)"):
            torch.ops.mmext.knn(2, points, other)
