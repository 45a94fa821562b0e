"""``mmext.GDLoss`` beside mmrotate's in the same process, and where it is meant to differ."""

import inspect
import itertools

import pytest
import torch
from mmengine.registry import MODELS, DefaultScope
from rotated_boxes import ordinary_pairs, value_and_grad

from mmext.engine import import_host
from mmext.rotated import GaussianDistanceLoss, GDLoss

TYPES = ("gwd", "kld", "jd", "kld_symmax", "kld_symmin")
OPTIONS = [
    dict(loss_type=loss_type, fun=fun, tau=tau, alpha=alpha) | flag
    for loss_type, fun, tau, alpha in itertools.product(
        TYPES, ("log1p", "sqrt", "none"), (0.0, 1.0, 2.0), (1.0, 2.0)
    )
    for flag in (
        {},
        {"normalize" if loss_type == "gwd" else "sqrt": False},
        {"normalize" if loss_type == "gwd" else "sqrt": True},
    )
]


def label(options):
    return "-".join(
        f"{value:g}" if isinstance(value, float) else str(value) for value in options.values()
    )


@pytest.fixture(scope="module", autouse=True)
def _host():
    import_host("mmrotate")


def theirs(**options):
    with DefaultScope.overwrite_default_scope("mmrotate"):
        return MODELS.build(dict(type="GDLoss", **options))


def ours(**options):
    """From mmrotate's scope, as in a config of its."""
    with DefaultScope.overwrite_default_scope("mmrotate"):
        return MODELS.build(dict(type="mmext.GDLoss", **options))


def test_arguments_are_mmrotates():
    own = inspect.signature(GDLoss.__init__).parameters
    their = inspect.signature(type(theirs(loss_type="gwd")).__init__).parameters
    for name, parameter in their.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            assert own[name].default == parameter.default, name
    assert [name for name in own if name in their] == [name for name in their if name in own]


@pytest.mark.parametrize("options", OPTIONS, ids=label)
def test_ordinary_boxes_lose_what_they_lose_in_mmrotate(options):
    pred, target = ordinary_pairs()
    settings = options | dict(reduction="none", loss_weight=5.0)
    value, grad = value_and_grad(ours(**settings), pred, target)
    expected_value, expected_grad = value_and_grad(theirs(**settings), pred, target)
    torch.testing.assert_close(value, expected_value, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("loss_type", TYPES)
def test_defaults_are_mmrotates(loss_type):
    pred, target = ordinary_pairs(dtype=torch.float32)
    value, grad = value_and_grad(ours(loss_type=loss_type), pred, target)
    expected_value, expected_grad = value_and_grad(theirs(loss_type=loss_type), pred, target)
    torch.testing.assert_close(value, expected_value)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("loss_type", TYPES)
@pytest.mark.parametrize("weight_dims", [0, 1, 2])
@pytest.mark.parametrize(
    ("reduction", "avg_factor"),
    [
        (None, None),
        (None, 7.5),
        (None, torch.tensor(3.0)),
        ("none", None),
        ("none", 7.5),
        ("mean", 7.5),
        ("sum", None),
    ],
)
def test_weights_and_reductions_are_mmrotates(loss_type, weight_dims, reduction, avg_factor):
    pred, target = ordinary_pairs(20)
    weight = [None, torch.rand(20).double(), torch.rand(20, 1).double().expand(20, 5)][weight_dims]
    if weight is not None:
        weight = weight * (torch.arange(20) % 3 > 0).double().reshape(-1, *[1] * (weight.dim() - 1))
    call = dict(weight=weight, avg_factor=avg_factor, reduction_override=reduction)
    value, grad = value_and_grad(ours(loss_type=loss_type), pred, target, **call)
    expected_value, expected_grad = value_and_grad(
        theirs(loss_type=loss_type), pred, target, **call
    )
    torch.testing.assert_close(value, expected_value, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-7, atol=1e-10)


def gaussians(count=50):
    """(N, 5) Gaussians by standard deviations and correlation."""
    x = torch.rand(count, 5, dtype=torch.float64)
    return torch.cat((x[:, :2] * 50, 4 + 30 * x[:, 2:4], 1.8 * x[:, 4:] - 0.9), 1)


@pytest.mark.parametrize("loss_type", TYPES)
def test_standard_deviations_and_correlation(loss_type):
    options = dict(loss_type=loss_type, representation="xy_stddev_pearson", reduction="none")
    pred, target = gaussians().requires_grad_(), gaussians()
    value, grad = value_and_grad(ours(**options), pred, target)
    expected_value, expected_grad = value_and_grad(theirs(**options), pred, target)
    torch.testing.assert_close(value, expected_value, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(grad, expected_grad, rtol=1e-7, atol=1e-10)


@pytest.mark.parametrize("loss_type", TYPES)
def test_circles_by_standard_deviations_have_the_gradient_of_their_neighbours(loss_type):
    """A circle has no axes, but its distance to an ellipse is as smooth as any."""
    options = dict(loss_type=loss_type, representation="xy_stddev_pearson", reduction="none")
    circle = torch.tensor([[0.0, 0, 5, 5, 0]], dtype=torch.float64)
    pred = (circle + torch.tensor([[1e-6], [0.0]]) * torch.tensor([0.0, 0, 1, 0, 0.1])).double()
    target = torch.tensor([[1.0, 2, 9, 3, 0.4]], dtype=torch.float64).expand(2, 5)
    _, (near, exact) = value_and_grad(ours(**options), pred.requires_grad_(), target)
    torch.testing.assert_close(exact, near, rtol=1e-4, atol=1e-6)


def test_standard_deviations_of_weight_0_can_hold_anything():
    loss = ours(loss_type="kld", representation="xy_stddev_pearson")
    pred, target = gaussians(4), gaussians(4)
    pred[1] = torch.nan
    target[1] = 0
    weight = torch.tensor([1.0, 0, 1, 1], dtype=torch.float64)
    value, grad = value_and_grad(loss, pred.requires_grad_(), target, weight)
    assert value.isfinite()
    assert grad.isfinite().all()
    assert not grad[1].any()


def test_thin_boxes_have_the_true_loss():
    """Where mmrotate's determinant cancels in float32, and what is its loss in float64."""
    pred = torch.tensor([[0.0, 0, 8000, 1, 0.3]], requires_grad=True)
    target = torch.tensor([[5.0, 2, 7000, 1.2, 0.3]])
    options = dict(loss_type="kld", fun="log1p", tau=1.0, sqrt=False)
    truth = theirs(**options)(pred.double(), target.double())
    torch.testing.assert_close(ours(**options)(pred, target).double(), truth, rtol=1e-5, atol=0)
    their_error = theirs(**options)(pred, target).double() - truth
    assert not their_error.abs() < 0.01  # or NaN


def test_equal_boxes_lose_nothing():
    """Mmrotate's clamp turns this into 3e-4, and more for small boxes."""
    _, target = ordinary_pairs(dtype=torch.float32)
    value, grad = value_and_grad(ours(loss_type="kld"), target.clone().requires_grad_(), target)
    assert value == 0
    assert not grad.any()


def test_small_boxes_lose_what_large_ones_do():
    """Normalised GWD is free of scale; mmrotate's has no gradient here."""
    pred = torch.tensor([[0.0, 0, 10, 4, 0.1]])
    target = torch.tensor([[1.0, 1, 12, 5, 0.3]])
    scale = torch.tensor([1.0, 1, 1, 1, 1e3])
    loss = ours(loss_type="gwd")
    small, large = (pred * scale / 1e3).requires_grad_(), pred.clone().requires_grad_()
    value, grad = value_and_grad(loss, small, target * scale / 1e3)
    expected_value, expected_grad = value_and_grad(loss, large, target)
    torch.testing.assert_close(value, expected_value)
    torch.testing.assert_close(grad * scale / 1e3, expected_grad, rtol=1e-4, atol=1e-6)


def test_v1_is_expressed_by_the_general_loss():
    """As docs/rotated_losses.md has it: the factor, the direction, the floor of 1e-6 aside."""
    pred, target = ordinary_pairs()
    with DefaultScope.overwrite_default_scope("mmrotate"):
        for kind, settings, v1 in (
            ("kld_pt", dict(scale=2.0, fun="log1p", tau=1.0), dict(loss_type="kld", fun="log1p")),
            ("kld_pt", dict(scale=2.0, fun="sqrt", tau=1.0), dict(loss_type="kld", fun="sqrt")),
            ("bcd", dict(fun="log1p", tau=1.0), dict(loss_type="bcd", fun="log1p")),
            ("gwd", dict(fun="sqrt", tau=2.0), dict(loss_type="gwd", fun="sqrt", tau=2.0)),
            ("gwd", dict(sqrt=True, normalize=True, tau=0), dict(loss_type="gwd", fun="")),
        ):
            expected = MODELS.build(dict(type="GDLoss_v1", **v1))(pred, target).flatten()
            loss = GaussianDistanceLoss(kind=kind, **settings, reduction="none")(pred, target)
            torch.testing.assert_close(loss, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (dict(loss_type="iou"), "loss_type"),
        (dict(loss_type="gwd", representation="xyxy"), "representation"),
        (dict(loss_type="gwd", sqrt=False), "normalize"),
        (dict(loss_type="kld", normalize=True), "sqrt"),
        (dict(loss_type="kld", fun="exp"), "fun"),
        (dict(loss_type="kld", alpha=0.0), "alpha"),
        (dict(loss_type="kld", reduction="average"), "reduction"),
        (dict(loss_type="kld", beta=1.0), "beta"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_options_are_refused_when_it_is_built(options, named):
    with pytest.raises((ValueError, TypeError), match=named):
        ours(**options)


def test_gaussians_need_five_columns():
    loss = ours(loss_type="kld", representation="xy_stddev_pearson")
    with pytest.raises(ValueError, match=r"\(N, 5\)"):
        loss(torch.ones(2, 4), torch.ones(2, 4))
