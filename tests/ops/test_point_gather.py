"""gather_points, group_points, three_interpolate: golden values, gradients, bad input."""

import pytest
import torch
from point_samples import golden

from mmext.ops import gather_points, group_points, three_interpolate, three_nn

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def operands(dtype=torch.float64, index_dtype=torch.int64):
    """Features (2, 4, 9) and indices (2, 5, 3) of random numbers, with repeats."""
    make = torch.Generator().manual_seed(0)
    features = torch.randn(2, 4, 9, generator=make, dtype=torch.float64).to(dtype)
    return features, torch.randint(9, (2, 5, 3), generator=make).to(index_dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_golden_values_and_gradients(dtype):
    data = golden("point_ops.npz")
    tolerance = dict(rtol=0, atol=1e-14) if dtype == torch.float64 else dict(rtol=1e-5, atol=1e-5)

    def check(result, features, expected, upstream, gradient):
        torch.testing.assert_close(result.double(), data[expected], **tolerance)
        (actual,) = torch.autograd.grad(result, features, data[upstream].to(dtype))
        torch.testing.assert_close(actual.double(), data[gradient], **tolerance)

    features = data["feat"].to(dtype).requires_grad_()
    grouped = group_points(features, data["ball_a_idx"])
    check(grouped, features, "group_feat_a", "group_grad_out_a", "group_grad_feat_a")
    distance, index = three_nn(data["xyz"].to(dtype), data["known_xyz"].to(dtype))
    weight = 1 / (distance + 1e-8)
    known = data["known_feat"].to(dtype).requires_grad_()
    result = three_interpolate(known, index, weight / weight.sum(-1, keepdim=True))
    check(result, known, "interp", "interp_grad_out", "interp_grad_known")


@pytest.mark.parametrize("index_dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_values_by_their_definition(dtype, index_dtype):
    features, index = operands(dtype, index_dtype)
    weight = torch.rand(2, 5, 3).to(dtype)
    gathered, grouped = gather_points(features, index[:, :, 0]), group_points(features, index)
    between = three_interpolate(features, index, weight)
    assert gathered.dtype == grouped.dtype == between.dtype == dtype
    for sample in range(2):
        for place in range(5):
            columns = features[sample][:, index[sample, place].long()]
            assert gathered[sample, :, place].equal(columns[:, 0])
            assert grouped[sample, :, place].equal(columns)
            expected = (columns.double() * weight[sample, place].double()).sum(-1)
            torch.testing.assert_close(between[sample, :, place], expected.to(dtype))


def test_gradcheck():
    features, index = operands()
    features.requires_grad_()
    weight = torch.rand(2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: gather_points(f, index[..., 0]), features)
    assert torch.autograd.gradcheck(lambda f: group_points(f, index), features)
    assert torch.autograd.gradcheck(lambda f, w: three_interpolate(f, index, w), (features, weight))


def test_half_sums_are_in_float32():
    features = torch.tensor([[[2048.0, 1.0, 1.0]]], dtype=torch.float16)
    index = torch.tensor([[[0, 1, 2]]])
    weight = torch.ones(1, 1, 3, dtype=torch.float16)
    assert three_interpolate(features, index, weight).item() == 2050  # 2048 in float16


def test_layouts_and_empty_inputs():
    features, index = operands()
    strided = features.mT.contiguous().mT
    assert group_points(strided, index).equal(group_points(features, index))
    assert group_points(features, index.mT.contiguous().mT).equal(group_points(features, index))
    assert group_points(features[:, :0], index).shape == (2, 0, 5, 3)
    assert group_points(features[:0], index[:0]).shape == (0, 4, 5, 3)
    assert gather_points(features[..., :0], index[:, :0, 0]).shape == (2, 4, 0)
    none = index[:, :0]
    assert three_interpolate(features, none, none.double()).shape == (2, 4, 0)


def test_compile_without_graph_breaks():
    def both(features, index, weight):
        return group_points(features, index), three_interpolate(features, index, weight)

    compiled = torch.compile(both, fullgraph=True, backend="aot_eager", dynamic=True)
    features, index = operands()
    weight = torch.rand(2, 5, 3, dtype=torch.float64)
    for one, other in zip(
        compiled(features, index, weight), both(features, index, weight), strict=True
    ):
        assert one.equal(other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, i: group_points(f[0], i), r"features must be \(B, C, N\), got \(4, 9\)"),
        (lambda f, i: group_points(f.long(), i), "features must be floating point"),
        (lambda f, i: group_points(f, i[0]), r"indices must be \(B, M, k\), got \(5, 3\)"),
        (lambda f, i: gather_points(f, i), r"indices must be \(B, M\), got \(2, 5, 3\)"),
        (lambda f, i: group_points(f, i.double()), "indices must be int32 or int64"),
        (lambda f, i: group_points(f, i[:1]), "indices has 1 samples, features has 2"),
        (lambda f, i: group_points(f[..., :0], i), "features has no points to take from"),
        (lambda f, i: group_points(f, i.to("meta")), "indices is on meta, features on cpu"),
        (lambda f, i: three_interpolate(f, i[..., :2], i.double()), r"must be \(B, N, 3\)"),
        (lambda f, i: three_interpolate(f, i, i), "weight must be floating point"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(*operands())


def test_an_index_outside_is_refused():
    features, index = operands()
    with pytest.raises(RuntimeError, match="out of bounds"):
        group_points(features, index + 9)
