"""GWDLoss, KLDLoss and GaussianDistanceLoss: values, weights, precision, refusals."""

import math

import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import MODELS, DefaultScope
from rotated_boxes import horizontal, ordinary_pairs, value_and_grad

from mmext.engine import import_host
from mmext.ops.gaussian_distance import KINDS
from mmext.rotated import (
    GaussianDistanceLoss,
    GDLoss,
    GWDLoss,
    KLDLoss,
    gaussian_distance_loss,
    gwd_loss,
    kld_loss,
)

# One loss of each class, of each kind, and with a root, whose gradient at 0 has to be kept finite.
LOSSES = {
    "GWDLoss": lambda **common: GWDLoss(**common),
    "GWDLoss normalized": lambda **common: GWDLoss(normalize=True, **common),
    "KLDLoss": lambda **common: KLDLoss(**common),
    "KLDLoss root": lambda **common: KLDLoss(sqrt=True, tau=0.0, **common),
    "GDLoss": lambda **common: GDLoss("gwd", **common),
} | {
    kind: lambda kind=kind, **common: GaussianDistanceLoss(kind=kind, **common)
    for kind in KINDS
    if kind != "kfiou"
}
LOSSES["kfiou"] = lambda **common: GaussianDistanceLoss(
    kind="kfiou", fun="one_minus", tau=0.0, **common
)
every_loss = pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)


def test_kld_by_hand():
    pred, target = torch.tensor([[2.0, 0, 4, 4, 0.3]]), torch.tensor([[0.0, 0, 4, 4, 1.2]])
    divergence = 0.5 * 2**2 / 2**2  # squares have no angle; the standard deviation is 2
    expected = torch.tensor(1 - 1 / (1 + math.log1p(divergence)))
    torch.testing.assert_close(KLDLoss()(pred, target), expected)
    torch.testing.assert_close(kld_loss(pred, target), expected)


def test_kld_direction_is_target_to_prediction():
    """A prediction half as wide as its target costs more than one twice as wide."""
    target = torch.tensor([[0.0, 0, 8, 8, 0]])
    narrow, wide = (torch.tensor([[0.0, 0, w, 8, 0]]) for w in (4.0, 16.0))
    loss = KLDLoss(fun="none", tau=0.0)
    torch.testing.assert_close(loss(narrow, target), torch.tensor(0.5 * (4 - 1 - math.log(4))))
    torch.testing.assert_close(loss(wide, target), torch.tensor(0.5 * (1 / 4 - 1 + math.log(4))))


def test_gwd_by_hand():
    pred, target = torch.tensor([[3.0, 4, 6, 2, 0.5]]), torch.tensor([[0.0, 0, 6, 2, 0.5]])
    torch.testing.assert_close(GWDLoss()(pred, target), torch.tensor(1 - 1 / (2 + 5)))
    torch.testing.assert_close(gwd_loss(pred, target), torch.tensor(1 - 1 / (2 + 5)))
    normalized = GWDLoss(fun="none", tau=0.0, normalize=True)(pred, target)
    torch.testing.assert_close(normalized, torch.tensor(5.0**2 / 12))  # the root of 6 * 2 * 6 * 2


def test_kfiou_is_turned_into_a_loss():
    boxes = torch.tensor([[3.0, 4, 6, 2, 0.5]])
    for fun, expected in (("one_minus", 2 / 3), ("neg_log", math.log(3))):
        loss = GaussianDistanceLoss(kind="kfiou", fun=fun, tau=0.0)
        torch.testing.assert_close(loss(boxes, boxes), torch.tensor(expected))
    with pytest.raises(ValueError, match="similarity"):
        GaussianDistanceLoss(kind="kfiou", fun="none", tau=0.0)


@every_loss
def test_angle_conventions_mix(make):
    pred, target = ordinary_pairs(dtype=torch.float64)
    expected, _ = value_and_grad(make(reduction="none"), pred, target)
    turned = target.clone()
    turned[:, 4] += torch.pi
    swapped = target[:, [0, 1, 3, 2, 4]]
    swapped[:, 4] += torch.pi / 2
    for same in (turned, swapped):
        torch.testing.assert_close(make(reduction="none")(pred, same), expected)


@every_loss
def test_horizontal_boxes_are_boxes_of_angle_0(make):
    pred, target = ordinary_pairs()
    level = torch.tensor([1.0, 1, 1, 1, 0])
    pred_level = (pred.detach() * level).requires_grad_()
    expected, expected_grad = value_and_grad(make(reduction="none"), pred_level, target * level)
    corners = horizontal(pred).detach().requires_grad_()
    value, grad = value_and_grad(make(reduction="none"), corners, horizontal(target))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(grad[:, :2] + grad[:, 2:], expected_grad[:, :2])
    torch.testing.assert_close((grad[:, 2:] - grad[:, :2]) / 2, expected_grad[:, 2:4])


@every_loss
def test_descent_brings_a_box_to_its_target(make):
    target = torch.tensor([[50.0, 40, 30, 10, 0.5]])
    pred = torch.tensor([[44.0, 45, 20, 16, 0.9]], requires_grad=True)
    loss = make()
    first = loss(pred, target).item()
    optimizer = torch.optim.Adam([pred], lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        value = loss(pred, target)
        value.backward()
        optimizer.step()
    least = loss(target, target)
    assert value - least < 0.1 * (first - least)


# --- weights and reduction


@every_loss
@pytest.mark.parametrize("columns", [4, 5])
def test_weights_of_a_box_count_as_their_mean(make, columns):
    pred, target = ordinary_pairs()
    if columns == 4:
        pred, target = horizontal(pred), horizontal(target)
    rows = make(reduction="none")(pred, target)
    weight = torch.rand(len(pred), columns, dtype=torch.float64)
    torch.testing.assert_close(make()(pred, target, weight), (rows * weight.mean(1)).mean())
    torch.testing.assert_close(make()(pred, target, weight[:, 0]), (rows * weight[:, 0]).mean())


@every_loss
@pytest.mark.parametrize("columns", [4, 5])
def test_rows_of_weight_0_can_hold_anything(make, columns):
    pred, target = ordinary_pairs(8, torch.float32)
    if columns == 4:
        pred, target = horizontal(pred), horizontal(target)
    pred, target = pred.detach().clone(), target.clone()
    keep = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 1])
    expected = make()(pred, target, keep)
    pred[1], pred[2], pred[3] = torch.nan, torch.inf, -torch.inf
    pred[4] = -5.0
    target[4], target[5], target[6] = 0.0, torch.nan, 1e30
    value, grad = value_and_grad(make(), pred.requires_grad_(), target, keep)
    torch.testing.assert_close(value, expected)
    assert grad[keep > 0].isfinite().all()
    assert (grad[keep == 0] == 0).all()


@every_loss
@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize(("rows", "weighted"), [(3, True), (0, True), (0, False)])
def test_without_positives_the_loss_is_0_with_a_graph(make, columns, rows, weighted):
    pred = torch.full((rows, columns), torch.nan, requires_grad=True)
    weight = torch.zeros(rows, columns) if weighted else None
    for reduction, avg_factor in (
        ("mean", None),
        ("mean", 0.0),
        ("mean", torch.tensor(0.0)),
        ("mean", 2),
        ("sum", None),
        ("none", None),
        ("none", 2),
    ):
        value, grad = value_and_grad(
            make(reduction=reduction), pred, torch.zeros(rows, columns), weight, avg_factor
        )
        assert value.shape == ((rows,) if reduction == "none" else ())
        assert not value.any()
        assert grad.shape == pred.shape
        assert not grad.any()


@every_loss
def test_reductions(make):
    pred, target = ordinary_pairs(20)
    rows = make(reduction="none")(pred, target)
    assert rows.shape == (20,)
    torch.testing.assert_close(make()(pred, target), rows.mean())
    torch.testing.assert_close(make(reduction="sum")(pred, target), rows.sum())
    torch.testing.assert_close(make()(pred, target, reduction_override="sum"), rows.sum())
    torch.testing.assert_close(make()(pred, target, reduction_override="none"), rows)
    divisor = torch.tensor(7.0)
    torch.testing.assert_close(make()(pred, target, avg_factor=divisor), rows.sum() / divisor)
    torch.testing.assert_close(make(loss_weight=3.0)(pred, target), 3 * rows.mean())


def test_avg_factor_does_not_go_with_sum():
    pred, target = ordinary_pairs(3)
    with pytest.raises(ValueError, match="avg_factor"):
        KLDLoss(reduction="sum")(pred, target, avg_factor=2)


# --- precision and compilation


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_boxes_are_computed_in_single_precision(make, dtype):
    """1000 px squared is beyond float16, and bfloat16 has 8 bits."""
    target = torch.tensor([[600.0, 400, 1000, 300, 0.5], [10, 10, 12, 6, 1.0]])
    pred = (target + torch.tensor([8.0, -4, 16, 2, 0.125])).to(dtype).requires_grad_()
    expected, expected_grad = value_and_grad(
        make(reduction="none"), pred.detach().float().requires_grad_(), target
    )
    value, grad = value_and_grad(make(reduction="none"), pred, target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad, expected_grad.to(dtype))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_nothing(make, dtype):
    pred, target = ordinary_pairs(dtype=torch.float32)
    weight = torch.rand(len(pred), 5)
    expected, expected_grad = value_and_grad(make(), pred, target, weight)
    with torch.autocast("cpu", dtype=dtype):
        value, grad = value_and_grad(make(), pred, target, weight)
        mixed, _ = value_and_grad(make(), pred, target.to(dtype).float(), weight.to(dtype))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    torch.testing.assert_close(grad, expected_grad, rtol=0, atol=0)
    assert mixed.isfinite()


@every_loss
def test_single_precision_boxes_may_meet_double_precision_ones(make):
    pred, target = ordinary_pairs(5)
    assert make()(pred.float(), target).dtype == torch.float64


@pytest.mark.parametrize("make", [LOSSES["GDLoss"], LOSSES["KLDLoss"]], ids=["GDLoss", "KLDLoss"])
@pytest.mark.parametrize("columns", [4, 5])
def test_compiles_without_a_graph_break(make, columns):
    torch.compiler.reset()
    loss = make()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for rows in (0, 7, 12):
        pred, target = ordinary_pairs(rows, torch.float32)
        if columns == 4:
            pred, target = horizontal(pred), horizontal(target)
        pred = pred.detach().clone()
        if rows:
            pred[0, 2] = pred[0, 0] - 3 if columns == 4 else -3.0  # to be raised
        weight = torch.rand(rows, columns)
        call = (target, weight, torch.tensor(3.0))
        value, grad = value_and_grad(compiled, pred.clone().requires_grad_(), *call)
        expected, expected_grad = value_and_grad(loss, pred.requires_grad_(), *call)
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(grad, expected_grad)


# --- boxes without extent, and refusals


@every_loss
@pytest.mark.parametrize("columns", [4, 5])
@pytest.mark.parametrize("side", [0.0, -0.3, -40.0])
def test_predictions_without_extent_are_led_back_up(make, columns, side):
    """Heads without an exponential predict them, and mmrotate's GDLoss is NaN or stuck there."""
    target = torch.tensor([[50.0, 40, 30, 10, 0]]).expand(3, 5)
    pred = target.clone()
    pred[0, 2] = pred[1, 3] = side
    pred[2, 2:4] = side
    if columns == 4:
        pred, target = horizontal(pred), horizontal(target)
    value, grad = value_and_grad(make(reduction="none"), pred.requires_grad_(), target)
    assert value.isfinite().all()
    assert grad.isfinite().all()
    assert grad.abs().max() < 1e4
    if columns == 4:
        grad = torch.cat((grad[:, :2], grad[:, 2:] - grad[:, :2]), 1)
    assert (grad[[0, 1, 2, 2], [2, 3, 2, 3]] < 0).all()


def test_raised_sides_stay_raised_far_from_the_origin():
    """A side of 1e-4 px is lost in the rounding of corners at 1e4 px; it must not turn negative."""
    target = torch.tensor([[1e4, 1e4, 1e4 + 0.01, 1e4 + 5]])
    pred = torch.tensor([[1e4 + 0.3, 1e4, 1e4 - 0.2, 1e4 + 5]], requires_grad=True)
    value, grad = value_and_grad(KLDLoss(), pred, target)
    assert value.isfinite()
    assert grad.isfinite().all()


@pytest.fixture
def deltas():
    """What a head without ``reg_decoded_bbox=True`` hands over."""
    torch.manual_seed(3)
    return torch.randn(20, 5) / 10, torch.randn(20, 5) / 2


@every_loss
def test_undecoded_deltas_are_refused(make, deltas):
    for columns in (4, 5):
        pred, target = (delta[:, :columns] for delta in deltas)
        with pytest.raises(ValueError, match="reg_decoded_bbox=True"):
            make()(pred, target)
        with pytest.raises(ValueError, match="reg_decoded_bbox=True"):
            make()(pred, target, torch.ones(20, columns), avg_factor=20)


def test_messages_name_the_loss_the_row_and_the_value():
    pred, target = ordinary_pairs(5, torch.float32)
    weight = torch.tensor([0.0, 1, 0, 1, 1])
    bad = target.clone()
    bad[3, 3] = -2.5
    with pytest.raises(ValueError, match=r"^KLDLoss: the target in row 3 .*-2\.5") as error:
        KLDLoss()(pred, bad, weight)
    assert "reg_decoded_bbox=True" in str(error.value)
    with pytest.raises(ValueError, match=r"^gwd_loss: the target in row 3"):
        gwd_loss(pred, bad)
    with pytest.raises(ValueError, match=r"^GDLoss: the target in row 3"):
        GDLoss("jd")(pred, bad)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("column", range(5))
def test_boxes_that_are_not_finite_are_refused(value, column):
    pred, target = ordinary_pairs(5, torch.float32)
    bad = target.clone()
    bad[2, column] = value
    with pytest.raises(ValueError, match="target in row 2 is not finite"):
        GWDLoss()(pred, bad)
    with pytest.raises(ValueError, match="prediction in row 2 is not finite"):
        GWDLoss()(bad, target)


def test_targets_without_extent_are_refused():
    pred, target = ordinary_pairs(5, torch.float32)
    target[1, 2] = 0
    with pytest.raises(ValueError, match=r"row 1 has a side of 0.*FilterAnnotations"):
        GWDLoss()(pred, target)
    with pytest.raises(ValueError, match=r"row 1 has a side of 0.*FilterAnnotations"):
        GWDLoss()(horizontal(pred), horizontal(target))


def test_degrees_are_refused():
    pred, target = ordinary_pairs(5, torch.float32)
    degrees = target * torch.tensor([1.0, 1, 1, 1, 180 / torch.pi])
    degrees[0, 4] = 45
    with pytest.raises(ValueError, match=r"angle of the target in row 0 is 45, .*degrees"):
        KLDLoss()(pred, degrees)
    with pytest.raises(ValueError, match=r"angle of the prediction in row 0 is 90, .*degrees"):
        KLDLoss()(degrees + 45, target)
    turned = target + torch.tensor([0.0, 0, 0, 0, torch.pi])  # any radians will do
    assert KLDLoss()(turned, target) < 1e-6


@pytest.mark.parametrize("shape", [(3, 6), (3, 7), (5,), (2, 3, 5), (3, 8)])
def test_shapes_that_are_no_boxes_are_refused(shape):
    with pytest.raises(ValueError, match=r"KLDLoss: pred must be \(N, 5\)"):
        KLDLoss()(torch.ones(shape), torch.ones(shape))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"same shape, got \(3, 5\) and \(4, 5\)"):
        KLDLoss()(torch.ones(3, 5), torch.ones(4, 5))
    with pytest.raises(ValueError, match=r"same shape, got \(3, 5\) and \(3, 4\)"):
        KLDLoss()(torch.ones(3, 5), torch.ones(3, 4))
    for shape in ((4,), (3, 4), (3, 1), ()):
        with pytest.raises(ValueError, match="weight must have the shape"):
            KLDLoss()(torch.ones(3, 5), torch.ones(3, 5), torch.ones(shape))


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: GaussianDistanceLoss(kind="iou"), "kind"),
        (lambda: GaussianDistanceLoss(kind="bcd", alpha=2.0), "alpha"),
        (lambda: GaussianDistanceLoss(kind="bcd", normalize=True), "normalize"),
        (lambda: GaussianDistanceLoss(kind="kfiou"), "fun"),
        (lambda: KLDLoss(fun="exp"), "fun"),
        (lambda: KLDLoss(tau=0.5), "tau"),
        (lambda: KLDLoss(reduction="average"), "reduction"),
        (lambda: GWDLoss(alpha=-1.0), "alpha"),
        (lambda: KLDLoss(normalize=True), "normalize"),
        (lambda: MODELS.build(dict(type="mmext.KLDLoss", beta=0.1)), "beta"),
        (lambda: MODELS.build(dict(type="mmext.GWDLoss", loss_type="gwd")), "loss_type"),
    ],
)
def test_options_are_refused_when_it_is_built(build, named):
    with pytest.raises((ValueError, TypeError), match=named):
        build()


def test_box_types_are_taken():
    import_host("mmrotate")
    from mmrotate.structures.bbox import RotatedBoxes

    pred, target = ordinary_pairs(4, torch.float32)
    expected = KLDLoss()(pred, target)
    torch.testing.assert_close(
        KLDLoss()(RotatedBoxes(pred.detach()), RotatedBoxes(target)), expected
    )
    flat = horizontal(pred).detach(), horizontal(target)
    torch.testing.assert_close(
        KLDLoss()(*(HorizontalBoxes(boxes) for boxes in flat)), KLDLoss()(*flat)
    )


@pytest.mark.parametrize("scope", ["mmdet", "mmrotate", "mmengine"])
def test_is_built_from_any_scope(scope):
    with DefaultScope.overwrite_default_scope(scope):
        loss = MODELS.build(dict(type="mmext.KLDLoss", loss_weight=5.5))
    pred, target = ordinary_pairs(4)
    torch.testing.assert_close(
        loss(pred, target), 5.5 * gaussian_distance_loss(pred, target, kind="kld")
    )
